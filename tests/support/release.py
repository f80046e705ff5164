"""Check that a tag can be released, and print its changelog: ``make release-notes TAG=v0.1.0``.

It needs no package but the standard library.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def problems(tag: str, version: str, changelog: str, readme: str) -> list[str]:
    """Return what has to be done before the tag can be released."""
    found = []
    if tag != f"v{version}":
        found.append(f"The tag is {tag}, but wagtail_smtp.__version__ is {version}.")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M):
        found.append(f"CHANGELOG.md has no heading '## [{version}] - <date>'.")
    elif "- " not in notes(version, changelog):
        found.append(f"CHANGELOG.md says nothing about {version}.")
    if notes("Unreleased", changelog):
        found.append("CHANGELOG.md has entries under 'Unreleased'.")
    if f"[{version}]: " not in changelog:
        found.append(f"CHANGELOG.md has no link for {version} at its end.")
    if "Before the first release" in readme:
        found.append("README.md says that there is no release yet.")
    return found


def notes(version: str, changelog: str) -> str:
    """Return what the changelog says about a version, without its heading."""
    _, _, rest = changelog.partition(f"\n## [{version}]")
    text = rest.partition("\n")[2]
    return re.split(r"^(?:## |\[[^\]]+\]: )", text, maxsplit=1, flags=re.M)[0].strip()


def main(tag: str) -> int:
    """Print the changelog of a tag. The exit code is 1 if it can't be released."""
    source = (ROOT / "wagtail_smtp" / "__init__.py").read_text()
    [version] = re.findall(r'^__version__ = "(.+)"$', source, re.M)
    changelog = (ROOT / "CHANGELOG.md").read_text()
    found = problems(tag, version, changelog, (ROOT / "README.md").read_text())
    sys.stderr.writelines(f"{problem}\n" for problem in found)
    if not found:
        sys.stdout.write(f"{notes(version, changelog)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
