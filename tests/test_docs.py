"""Documentation names what there is: each setting, each command; and its links lead somewhere."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from wagtail_smtp.conf import DEFAULTS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


@cache
def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """Those that headings get on GitHub, and those that are written down."""
    found = set(re.findall(r'<a id="([^"]+)">', page.read_text()))
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(text.replace(" ", "-"))
    return found


def links(page: Path) -> list[tuple[Path, str]]:
    """The files, with their anchors, that a page links to."""
    found = []
    for link in LINK.findall(prose(page)):
        if not link.startswith(("http:", "https:")):
            path, _, anchor = link.partition("#")
            found.append((((page.parent / path) if path else page).resolve(), anchor))
    return found


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
    assert there - reached == set()


def test_every_picture_says_what_it_shows_and_is_small() -> None:
    for page in PAGES:
        for text, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(page)):
            assert len(text) > 20, path
            assert (page.parent / path).stat().st_size < 100_000, path


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| `(.+?)` \|", (DOCS / "settings.md").read_text(), re.MULTILINE
    )
    assert len(rows) == len(dict(rows))
    assert {key: ast.literal_eval(value) for key, value in rows} == dict(DEFAULTS)


def test_every_command_is_documented() -> None:
    folder = ROOT / "wagtail_smtp" / "management" / "commands"
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "commands.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(path.stem for path in folder.glob("smtp_*.py"))
