"""Make text harmless for chat services: it may contain what strangers wrote.

A message's subject must not call everyone, look like a link or hide what follows it.
"""

import re

#: The longest subject and text that a channel gets.
MAX_SUBJECT, MAX_TEXT = 200, 2000
#: What Slack, HTML and Markdown read as commands, and what looks like it.
_LOOKALIKES = str.maketrans(
    {
        "<": "‹",
        ">": "›",
        "[": "［",
        "]": "］",
        "*": "＊",
        "`": "ˋ",
        "~": "～",
        "|": "｜",
        "\\": "＼",
    }
)
#: Invisible: it separates a sign from what would give it a meaning.
_SEPARATOR = "\u200b"
#: Control characters except line breaks; characters without width; changes of direction.
_HIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
#: Before a name, even inside a word: Discord finds ``@everyone`` anywhere.
_MENTION = re.compile(
    r"@(?=everyone|here|channel|room|all\b|team)|(?<![\w.+-])@(?=\w)", re.IGNORECASE
)
#: At the beginning of a line: headings and lists. Underscores around words: emphasis.
_LINE_START = re.compile(r"^(\s*)([#+\-=_!])", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<!\w)_|_(?!\w)")


def neutral(text: str, limit: int) -> str:
    """Return ``text`` without commands and hidden characters, at most ``limit`` characters."""
    text = _HIDDEN.sub(" ", text.replace("\r\n", "\n"))
    # Before anything is inserted: whatever is cut off can't complete a command either.
    text = text if len(text) <= limit else f"{text[: limit - 1]}…"
    text = text.translate(_LOOKALIKES)
    text = _MENTION.sub(f"@{_SEPARATOR}", text)
    text = _EMPHASIS.sub("＿", text)
    return _LINE_START.sub(rf"\1{_SEPARATOR}\2", text)
