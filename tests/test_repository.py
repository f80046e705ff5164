"""What is around the code agrees with itself: the README, targets of make and versions."""

import re
import tomllib
from pathlib import Path

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
