"""What is around the code agrees with itself: the README, targets of make, versions, workflows."""

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import release
from wagtail_smtp.conf import DEFAULTS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
#: What isn't the project's own but may be linked to from its front page.
OTHERS = (
    "https://img.shields.io/badge/",
    "https://readthedocs.org/projects/wagtail-smtp/",
    "http://127.0.0.1:",
)


def versions(framework: str) -> list[str]:
    """The versions of Python, Django or Wagtail that the classifiers name."""
    found = re.findall(
        rf"^{framework} :: (\d+(?:\.\d+)?)$", "\n".join(PROJECT["classifiers"]), re.M
    )
    return [version for version in found if version != "3"]


def readme_row(name: str) -> str:
    [row] = re.findall(rf"^\| {name} \| (.+) \|$", README, re.MULTILINE)
    return row


def test_links_of_the_readme_work_where_it_is_published() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", README) + re.findall(r"<(http[^>]+)>", README)
    own = (PROJECT["urls"]["Repository"], PROJECT["urls"]["Documentation"])
    pictures = own[0].replace("//github.com/", "//raw.githubusercontent.com/")
    assert len(links) > 30
    assert [link for link in links if not link.startswith((*own, pictures, *OTHERS))] == []


def test_addresses_of_the_project_agree() -> None:
    urls = PROJECT["urls"]
    assert DEFAULTS["DOCUMENTATION_URL"] == urls["Documentation"]
    [clone] = re.findall(r"git clone (\S+)", README)
    assert clone == f"{urls['Repository']}.git"
    for name in ("Changelog", "Issues", "Security"):
        assert urls[name].startswith(f"{urls['Repository']}/"), name


def test_the_readme_names_the_supported_versions() -> None:
    pythons = versions("Programming Language :: Python")
    djangos = versions("Framework :: Django")
    assert readme_row("Python") == ", ".join(pythons)
    assert readme_row("Django") == ", ".join(djangos)
    assert f"[![Python {pythons[0]} to {pythons[-1]}]" in README
    assert f"[![Django {djangos[0]} to {djangos[-1]}]" in README
    [wagtail] = re.findall(r'"wagtail>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert readme_row("Wagtail") == f"{wagtail} and later"
    assert f"Wagtail {wagtail} and later]" in README
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert f"Django>={djangos[0]}" in PROJECT["dependencies"]


def test_every_target_of_make_that_is_named_exists() -> None:
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named: dict[str, set[str]] = {}
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.y*ml")]
    for file in [*files, ROOT / ".ci/run", ROOT / "tox.ini"]:
        text = re.sub(r"\b[A-Z_]+=\S+ ", "", file.read_text())
        for target in re.findall(r"(?:[`$:]|part|&&|if) ?make ([a-z-]+)", text):
            named.setdefault(target, set()).add(str(file.relative_to(ROOT)))
    assert {"demo", "test", "matrix", "docs"} <= set(named)
    assert {target: files for target, files in named.items() if target not in there} == {}


def tox_environments() -> tuple[set[str], set[str]]:
    """All environments of tox.ini, and those with the label "pairs"."""
    text = (ROOT / "tox.ini").read_text().replace("\\\n", "")
    [lines] = re.findall(r"^env_list =\n((?: .+\n)+)", text, re.MULTILINE)
    [pairs] = re.findall(r"^ +pairs = (.+)$", text, re.MULTILINE)
    expanded = set()
    for line in lines.split():
        alternatives = [part.split(",") for part in re.split(r"[{}]", line)]
        expanded |= {"".join(parts) for parts in itertools.product(*alternatives)}
    return expanded, {name.strip() for name in pairs.split(",")}


def test_the_matrix_covers_the_supported_versions() -> None:
    every, pairs = tox_environments()
    factors = [
        set(column)
        for column in zip(*(name.split("-") for name in every if "lowest" not in name), strict=True)
    ]
    pythons = versions("Programming Language :: Python")
    assert factors[0] == {f"py{version.replace('.', '')}" for version in pythons}
    assert factors[1] == {
        f"dj{version.replace('.', '')}" for version in versions("Framework :: Django")
    }
    assert {name[1] for name in factors[2]} >= set(versions("Framework :: Wagtail"))
    assert factors[3] == {"sqlite", "postgresql", "mariadb"}
    assert {f"py311-lowest-{database}" for database in factors[3]} <= every
    assert pairs <= every
    assert met(pairs) == met(every)


def test_the_documentation_lists_the_matrix() -> None:
    text = (ROOT / "docs" / "contributing" / "index.md").read_text()
    rows = re.findall(r"^\| (3\.\d.*?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    listed = set()
    for row in rows:
        for python, django, wagtail in itertools.product(*(cell.split(", ") for cell in row)):
            names = [f"py{python}", f"dj{django}", f"w{wagtail}"]
            names = [names[0], "lowest"] if django == "lowest" else names
            listed.add("-".join(names).replace(".", ""))
    every, _ = tox_environments()
    assert listed == {name.rpartition("-")[0] for name in every}


def met(environments: set[str]) -> set[frozenset[str]]:
    """Each two factors that are tested together."""
    names = (name.split("-") for name in environments)
    return {frozenset(pair) for name in names for pair in itertools.combinations(name, 2)}


FORMS = {
    "vendor.github-workflows": ".github/workflows/*.yml",
    "vendor.dependabot": ".github/dependabot.yml",
    "vendor.github-issue-config": ".github/ISSUE_TEMPLATE/config.yml",
    "vendor.github-issue-forms": ".github/ISSUE_TEMPLATE/[!c]*.yml",
    "vendor.readthedocs": ".readthedocs.yaml",
}


@pytest.mark.parametrize("schema", FORMS)
def test_files_of_services_are_valid(schema: str) -> None:
    files = sorted(map(str, ROOT.glob(FORMS[schema])))
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_addresses_in_files_of_services_are_those_of_the_project() -> None:
    files = [file for file in ROOT.glob(".github/**/*") if file.is_file()]
    text = "".join(file.read_text() for file in files)
    own = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    assert set(re.findall(r"(?:github\.com/|repository == ')([\w-]+/[\w-]+)", text)) == {own}


RELEASED = """# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- A feature.

## [0.1.0] - 2026-11-01

### Added

- Everything.

[Unreleased]: https://example.com
[0.2.0]: https://example.com
"""


def test_a_release_has_its_notes() -> None:
    assert release.problems("v0.2.0", "0.2.0", RELEASED, "") == []
    assert release.notes("0.2.0", RELEASED) == "### Added\n\n- A feature."
    assert release.notes("0.1.0", RELEASED) == "### Added\n\n- Everything."


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.2.0] - 2026-12-01", "0.2.0]"),
        ("- A feature.", ""),
        ("### Added\n\n- A feature.", ""),
        ("[Unreleased]\n", "[Unreleased]\n\n- Another.\n"),
        ("[0.2.0]: https", "[0.3.0]: https"),
    ],
)
def test_a_release_that_is_not_ready(old: str, new: str) -> None:
    assert old in RELEASED
    assert len(release.problems("v0.2.0", "0.2.0", RELEASED.replace(old, new), "")) == 1


def test_a_release_of_another_version_or_with_the_note_on_the_first() -> None:
    assert len(release.problems("v0.2.1", "0.2.0", RELEASED, "")) == 1
    assert len(release.problems("v0.2.0", "0.2.0", RELEASED, "**Before the first release**")) == 1


def test_the_changelog_has_the_form_that_a_release_needs() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *others = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", other) for other in others)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert others or "Before the first release" in README


def test_no_package_index_is_named() -> None:
    """Which index a project installs from is its own choice."""
    host = re.compile(r"pypi\.(?:org|python)|pythonhosted", re.IGNORECASE)
    files = [*ROOT.glob("*"), *ROOT.glob(".github/**/*"), *ROOT.glob("docs/**/*.md")]
    named = [
        str(file)
        for file in files
        if file.is_file() and host.search(file.read_text(errors="replace"))
    ]
    assert named == []


def test_no_module_replaces_a_fixture_that_every_test_uses() -> None:
    """A fixture of the same name would silently end the one in tests/conftest.py."""
    definition = re.compile(r"^@pytest\.fixture\(autouse=True\)\ndef (\w+)", re.MULTILINE)
    shared = definition.findall((ROOT / "tests/conftest.py").read_text())
    assert len(shared) > 3
    replaced = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path.name != "conftest.py"
        for name in re.findall(r"^def (\w+)", path.read_text(), re.MULTILINE)
        if name in shared
    ]
    assert replaced == []
