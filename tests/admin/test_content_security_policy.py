"""Under a strict Content Security Policy, nothing of the plugin's pages is blocked.

Such a policy forbids inline scripts, event handlers and styles.
"""

import re
from pathlib import Path

import wagtail_smtp

PACKAGE = Path(wagtail_smtp.__file__).parent
#: Inline scripts, style elements, style attributes and event handlers.
FORBIDDEN = re.compile(r"""<script(?![^>]*\bsrc=)|<style|\bstyle=["']|\son[a-z]+=["']""")
#: Code that makes one of them, or runs text.
IN_SCRIPTS = re.compile(
    r"innerHTML|document\.write|insertAdjacentHTML|\beval\(|new Function|'style'"
)
#: The text of a logged message, in a sandboxed frame with a policy of its own that allows styles.
FRAME = "message.html"
#: No page but an email, which can't load a style sheet.
EMAIL = "email.html"


def _found(pattern: re.Pattern[str], *names: str) -> dict[str, list[str]]:
    paths = (path for name in names for path in PACKAGE.rglob(name))
    found = {path.name: pattern.findall(path.read_text()) for path in paths}
    return {name: hits for name, hits in found.items() if hits}


def test_nothing_is_inline():
    assert _found(FORBIDDEN, "*.html", "*.py") == {FRAME: ['style="'], EMAIL: ["<style"]}


def test_scripts_make_nothing_inline():
    assert _found(IN_SCRIPTS, "*.js") == {}


def test_each_kind_is_found():
    for text in ("<script>", "<style>", '<p style="">', '<p onclick="">'):
        assert FORBIDDEN.search(text)
    assert not FORBIDDEN.search('<script src="{% static "x.js" %}" defer></script>')
