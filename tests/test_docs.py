"""The documentation agrees with the code, and its links lead somewhere.

``make docs`` builds the site and checks its links too; these tests don't need Sphinx.
"""

import ast
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import load_command_class
from django.dispatch import Signal
from django.test import Client

from wagtail_smtp import checks, exceptions, signals
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.causes import GROUPS
from wagtail_smtp.conf import DEFAULTS
from wagtail_smtp.config_files.drift import Drift
from wagtail_smtp.diagnostics.status import FailedMessage, SetStatus, Status
from wagtail_smtp.models.choices import RANKS, RecipientState, Reported, State
from wagtail_smtp.testing import EmailDelivery, email_delivery
from wagtail_smtp.transports.esp.catalog import PROVIDERS

__all__ = ["email_delivery"]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts),
]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
PICTURES = URLS["Repository"].replace("//github.com/", "//raw.githubusercontent.com/")
#: Where files of the repository are published, with their folders.
ADDRESSES = {
    URLS["Documentation"]: "docs",
    f"{URLS['Repository']}/blob/main/": "",
    f"{PICTURES}/main/": "",
}
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)


@cache
def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """Those that MyST and GitHub give headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(text.replace(" ", "-"))
    return found


def in_repository(link: str) -> str:
    """A link as the path of a file of the repository, if it leads to one."""
    for address, folder in ADDRESSES.items():
        if link.startswith(address):
            path, hash_, anchor = link.removeprefix(address).partition("#")
            path = f"{folder}/{path}".replace(".html", ".md").strip("/")
            return f"{ROOT / ('docs/index.md' if path == 'docs' else path)}{hash_}{anchor}"
    return link


def links(page: Path) -> list[tuple[Path, str]]:
    """The files, with their anchors, that a page links to or lists in its contents."""
    found = []
    for link in LINK.findall(prose(page)):
        link = in_repository(link)
        if not link.startswith(("http:", "https:")):
            path, _, anchor = link.partition("#")
            found.append((((page.parent / path) if path else page).resolve(), anchor))
    for contents in TOCTREE.findall(page.read_text()):
        names = (line for line in contents.splitlines() if line and not line.startswith(":"))
        found += [((page.parent / f"{name}.md").resolve(), "") for name in names]
    return found


def rows(page: str, section: str = "") -> list[list[str]]:
    """The cells of the tables on a page of the reference, or in one section of it."""
    text = (REFERENCE / page).read_text()
    if section:
        _, found, text = text.partition(f"\n## {section}\n")
        assert found, section
        text = text.partition("\n## ")[0]
    lines = re.findall(r"^\| (.+) \|$", text, re.MULTILINE)
    cells = [re.split(r" \| ", line) for line in lines]
    # A table's first line is its head, which has no code or bold text in the first cell.
    return [row for row in cells if row[0].startswith(("`", "*"))]


def plain(text: str) -> str:
    """A cell's text without marks for code, bold and italic."""
    return text.strip("`*")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.is_file(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_every_page_and_picture_can_be_reached_from_the_readme() -> None:
    reached, new = set(), [ROOT / "README.md"]
    while new:
        page = new.pop()
        reached.add(page)
        if page.suffix == ".md":
            new += {target for target, _ in links(page)} - reached
    there = {path for path in DOCS.rglob("*") if path.suffix in (".md", ".png")}
    assert {path for path in there if "_build" not in path.parts} - reached == set()


def test_every_picture_says_what_it_shows_and_is_small() -> None:
    for page in PAGES:
        for text, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(page)):
            file = in_repository(path)
            if "://" not in file:  # not a badge
                assert len(text) > 20, path
                assert (page.parent / file).stat().st_size < 100_000, path


def package_text(*endings: str) -> str:
    """All files of the package with these endings."""
    files = sorted((ROOT / "wagtail_smtp").rglob("*"))
    return "\n".join(file.read_text() for file in files if file.suffix in endings)


def test_no_text_of_the_package_names_a_file_of_the_repository() -> None:
    """Users of the wheel have no docs, Makefile or tests."""
    text = package_text(".py", ".html", ".txt", ".po", ".js")
    there = {path.name for path in ROOT.iterdir()} - {"wagtail_smtp", "LICENSE", "docs", "tests"}
    there = {name for name in there if re.match(r"\w", name)}
    names = "|".join(map(re.escape, sorted(there - {"build", "dist"})))
    assert {"README.md", "Makefile"} <= there
    assert re.findall(rf"\b(?:{names})(?!\w)|\b(?:docs|tests)/\S*", text) == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "demo" in targets
    assert re.findall(rf"`make (?:{'|'.join(targets)})\b", text) == []


def test_pages_that_the_package_links_to_exist() -> None:
    text = package_text(".py", ".html")
    names = re.findall(r"documentation(?:\(f?| )[\"']([\w/-]+)\.html", text)
    assert len(names) > 5
    assert [name for name in names if not (DOCS / f"{name}.md").is_file()] == []


def test_pages_of_the_admin_link_to_the_documentation(
    admin_client: Client, configure: Callable[..., None]
) -> None:
    configure(DOCUMENTATION_URL="https://docs.example.org/email/")
    paths = ("/admin/snippets/wagtail_smtp/settingsset/add/", "/admin/email/troubleshooting/")
    pages = [admin_client.get(path).content.decode() for path in paths]
    found = [re.findall(r'"https://docs\.example\.org/email/([^"]+)\.html"', p) for p in pages]
    assert {"how-to/microsoft-and-google", "reference/providers/amazon-ses"} <= {*found[0]}
    assert {"how-to/microsoft-and-google", "how-to/fix-a-failing-server"} == {*found[1]}
    linked = {*found[0], *found[1]}
    assert [page for page in linked if not (DOCS / f"{page}.md").is_file()] == []
    # Each email provider has its own.
    assert len([page for page in linked if "/providers/" in page]) == len(PROVIDERS)


def test_every_setting_is_documented_with_its_default() -> None:
    found = re.findall(
        r"^\| `([A-Z_]+)` \| `(.+?)` \|", (REFERENCE / "settings.md").read_text(), re.MULTILINE
    )
    assert len(found) == len(dict(found))
    assert {key: ast.literal_eval(value) for key, value in found} == dict(DEFAULTS)


def test_every_command_is_documented() -> None:
    folder = ROOT / "wagtail_smtp" / "management" / "commands"
    found = re.findall(r"^\| `(smtp_\w+)` \|", (REFERENCE / "commands.md").read_text(), re.M)
    assert sorted(found) == sorted(path.stem for path in folder.glob("smtp_*.py"))


@pytest.mark.parametrize(
    ("heading", "documented"),
    [
        ("name", Status),
        ("name in `sets`", SetStatus),
        ("name in `failures`", FailedMessage),
        ("name in `drift`", Drift),
    ],
)
def test_every_name_in_the_status_for_programs_is_documented(heading: str, documented: Any) -> None:
    page = (REFERENCE / "commands.md").read_text()
    table = page.partition(f"| {heading} | value |\n|---|---|\n")[2].partition("\n\n")[0]
    names = [line.split("`")[1] for line in table.splitlines()]
    assert names == [field.name for field in dataclasses.fields(documented)]


def test_every_command_and_option_in_the_documentation_exists() -> None:
    for page in PAGES:
        for name, rest in re.findall(
            r"(?:manage\.py |`)(smtp_[a-z_]+)([^`\n|]*)", page.read_text()
        ):
            parser = load_command_class("wagtail_smtp", name).create_parser("manage.py", name)
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
                assert option in parser._option_string_actions, f"{page}: {name} {option}"


def test_every_system_check_is_documented() -> None:
    found = [plain(row[0]) for row in rows("checks.md")]
    there = set(re.findall(r'"(wagtail_smtp\.[EWI]\d+)"', inspect.getsource(checks)))
    assert len(found) == len(set(found))
    assert set(found) == there


def test_system_checks_named_on_other_pages_exist() -> None:
    there = set(re.findall(r'"wagtail_smtp\.([EWI]\d+)"', inspect.getsource(checks)))
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            assert set(re.findall(r"\b[EWI]\d{3}\b", page.read_text())) <= there, page


def test_every_permission_is_documented_with_its_name(db: None) -> None:
    found = {plain(row[1]): plain(row[0]) for row in rows("permissions.md")}
    there = Permission.objects.filter(content_type__app_label="wagtail_smtp")
    assert found == dict(there.values_list("codename", "name"))


def test_permissions_of_the_roles_exist(db: None) -> None:
    names = Permission.objects.filter(content_type__app_label="wagtail_smtp")
    known = {*names.values_list("name", flat=True), "Can access Wagtail admin"}
    # Abbreviated: "*Can add*, *change*, *delete* and *view SMTP settings set*".
    known |= {"Can add", "Can redirect email"}
    text = (DOCS / "how-to" / "permissions.md").read_text()
    assert set(re.findall(r"\*(Can [^*]+)\*", text)) <= known


@pytest.mark.parametrize(
    ("section", "states"),
    [
        ("Of a message", State),
        ("Of a recipient", RecipientState),
        ("Delivery tracking", Reported),
    ],
)
def test_every_state_is_documented(section: str, states: Any) -> None:
    found = {plain(row[1]): plain(row[0]) for row in rows("states.md", section)}
    assert found == {str(state): str(label) for state, label in states.choices}


def test_every_rank_is_documented() -> None:
    found = {plain(row[1]): row[2] for row in rows("states.md", "Delivery tracking")}
    assert found == {str(event): str(RANKS.get(event, "–")) for event in Reported}


def test_every_exception_is_documented_with_its_bases() -> None:
    def names(error: type[BaseException]) -> list[str]:
        return [
            f"{base.__module__}.{base.__name__}" if base.__module__ == "smtplib" else base.__name__
            for base in error.__bases__
        ]

    found = {plain(row[0]): row for row in rows("exceptions-and-signals.md", "Exceptions")}
    there = {
        name: value
        for name, value in vars(exceptions).items()
        if inspect.isclass(value) and value.__module__ == exceptions.__name__
    }
    assert set(found) == set(there)
    for name, error in there.items():
        assert re.findall(r"`([\w.]+)`", found[name][1]) == names(error), name
        if issubclass(error, exceptions.EmailDeliveryError):
            assert error.retry_is_safe is (not found[name][3].startswith("**no**")), name


def test_every_signal_is_documented_with_its_arguments() -> None:
    found = {plain(row[0]): row for row in rows("exceptions-and-signals.md", "Signals")}
    there = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert set(found) == there
    source = "".join(file.read_text() for file in (ROOT / "wagtail_smtp").rglob("*.py"))
    for name, row in found.items():
        arguments = r"([^()]*(?:\([^()]*\))?[^()]*)"
        calls = re.findall(rf"send_robustly\(\s*signals\.{name},{arguments}\)", source)
        assert calls, name
        documented = set(re.findall(r"`(\w+)`", row[2]))
        for call in calls:
            assert set(re.findall(r"(\w+)=", call)) <= documented, name


def test_the_arguments_of_the_signals_about_messages(email_delivery: EmailDelivery) -> None:
    from django.core.mail import send_mail

    got = {}

    def note(signal, sender, **values):
        got[signal] = set(values)

    signals.message_sent.connect(note)
    signals.message_failed.connect(note)
    try:
        send_mail("Hello", "", None, ["ada@example.org"])
        email_delivery.redirect_all_to()
        with suppress(exceptions.EmailDeliveryError):
            send_mail("Hello", "", None, ["ada@example.org"])
    finally:
        signals.message_sent.disconnect(note)
        signals.message_failed.disconnect(note)
    for row in rows("exceptions-and-signals.md", "Signals"):
        signal = getattr(signals, plain(row[0]))
        if signal in got:
            assert set(re.findall(r"`(\w+)`", row[2])) == got.pop(signal)
    assert got == {}


def test_every_category_is_documented() -> None:
    text = (DOCS / "explanation" / "how-a-message-travels.md").read_text()
    found = re.findall(r"^\| `([a-z]+)` \|", text, re.MULTILINE)
    assert tuple(found) == BUILT_IN
    glossary = (DOCS / "explanation" / "glossary.md").read_text()
    [row] = re.findall(r"^\| \*\*category\*\* \| (.+) \|$", glossary, re.MULTILINE)
    assert tuple(re.findall(r"`([a-z]+)`", row)) == BUILT_IN


def test_files_of_the_repository_named_in_the_documentation_exist() -> None:
    for page in (*DOCS.glob("contributing/*.md"), ROOT / "CONTRIBUTING.md"):
        names = re.findall(r"`((?:wagtail_smtp|tests|docs|benchmarks)/[\w./-]+)`", prose(page))
        # What a command makes, and a language that doesn't exist yet.
        names = [n for n in names if not re.match("benchmarks/results|wagtail_smtp/locale/fr", n)]
        assert [name for name in names if not (ROOT / name).exists()] == [], page


def test_every_cause_has_an_anchor() -> None:
    found = re.findall(r"^\(([\w-]+)\)=$", (REFERENCE / "causes.md").read_text(), re.MULTILINE)
    assert found == [cause.slug for _slug, _title, causes in GROUPS for cause in causes]


def test_every_email_provider_is_documented() -> None:
    folder = REFERENCE / "providers"
    pages = {page.stem for page in folder.glob("*.md")} - {"index"}
    text = (folder / "index.md").read_text()
    listed = dict(re.findall(r"^\| \[(.+?)\]\(([\w-]+)\.md\)", text, re.MULTILINE))
    # A label may have a note in parentheses.
    labels = [str(provider.label) for provider in PROVIDERS.values()]
    assert len(listed) == len(labels)
    assert all(any(label.startswith(name) for name in listed) for label in labels)
    assert set(listed.values()) == pages


#: In bold on the pages of email providers: the steps that all have.
BUTTONS = {"Send with", "Send test email", "Save", "Review and reload"}


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.slug)
def test_every_field_of_an_email_provider_is_documented(provider: Any) -> None:
    page = REFERENCE / "providers" / f"{provider.slug.replace('_', '-')}.md"
    named = set(re.findall(r"\*\*([^*]+)\*\*", page.read_text())) - BUTTONS
    fields = {str(option.label) for option in provider.options}
    assert named - {"Certificates of a private authority"} == fields
    assert f"*{str(provider.label).partition(' (no longer')[0]}*" in page.read_text()


#: In italics or bold in the steps of guides, but not a text of the plugin: Wagtail's, the demo's,
#: examples and stressed words.
OTHER_LABELS = {
    "add smtp settings set",
    "can access wagtail admin",
    "contact form",
    "every",
    "inbox",
    "newsletter provider",
    "redirect address",
    "testing: all mail to qa",
}


def test_every_label_in_the_steps_of_a_guide_is_on_a_page_of_the_admin() -> None:
    package = package_text(".py", ".html").lower()
    pages = [*(DOCS / "how-to").glob("*.md"), *(DOCS / "tutorials").glob("*.md")]
    missing = []
    for page in pages:
        if page.name == "microsoft-and-google.md":  # most of it is about their pages
            continue
        for line in re.findall(r"^\d+\. .+(?:\n   .+)*", prose(page), re.MULTILINE):
            for _stars, text in re.findall(r"(?<!\*)(\*\*?)(?=\S)([^*]+)\1", line):
                for label in " ".join(text.split()).split(" → "):
                    text = re.escape(label.rstrip(".:").lower())
                    if label.lower() not in OTHER_LABELS and not re.search(
                        rf"[\"'>“]{text}[\"'<”.:]", package
                    ):
                        missing.append(f"{page.name}: {label}")
    assert missing == []
