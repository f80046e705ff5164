"""docs/problems.md: what stands above its list, and the list from the causes themselves.

``python -m tests.support.problems_page`` writes it.
"""

import os
import textwrap
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[2] / "docs" / "problems.md"
#: Where the list begins.
MARK = "<!-- What follows is written by: python -m tests.support.problems_page -->\n"
GUIDE = (
    "The steps for Microsoft and Google are in [microsoft-and-google.md](microsoft-and-google.md)."
)


def text() -> str:
    """The page as it should be."""
    from wagtail_smtp.diagnostics.explain import GROUPS

    head = PATH.read_text().partition(MARK)[0]
    parts = []
    for _slug, title, causes in GROUPS:
        parts.append(f"## {title}\n")
        parts.extend(map(_section, causes))
    return head + MARK + "\n" + "\n".join(parts)


def _section(cause: Any) -> str:
    parts = [f'<a id="{cause.slug}"></a>', f"### {cause.title}", _wrapped(str(cause.advice))]
    if cause.more:
        parts.append("\n".join(_wrapped(str(item), "- ") for item in cause.more))
    if cause.example:
        parts.append(f"For example: `{cause.example}`")
    if cause.guide:
        parts.append(GUIDE)
    return "\n\n".join(parts) + "\n"


def _wrapped(words: str, bullet: str = "") -> str:
    return textwrap.fill(
        words,
        100,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    PATH.write_text(text())
