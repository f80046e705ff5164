"""What strangers write can't become a command in a chat."""

import pytest

from wagtail_smtp.channels.plain_text import neutral

ANYONE = [
    "@everyone",
    "Hi @here",
    "mail@everyone",
    "@channel",
    "@room",
    "<!channel>",
    "<!here|here>",
    "<@U024BE7LH>",
    "<@&1234>",
    "<#C024BE7LR>",
]


@pytest.mark.parametrize("text", ANYONE)
def test_no_one_is_called(text):
    found = neutral(text, 200)
    assert not any(part in found for part in ("<", "@everyone", "@here", "@channel", "@room"))


@pytest.mark.parametrize(
    "text",
    [
        "[Click](https://evil.example)",
        "**bold**",
        "`code`",
        "~~gone~~",
        "||x||",
        "_it_",
        "\\*",
    ],
)
def test_no_markdown(text):
    assert not set("[]*`~|\\") & set(neutral(text, 200))


@pytest.mark.parametrize("text", ["# Heading", "- item", "> quote", "1\n# Heading"])
def test_no_blocks(text):
    assert all(line[:1] not in "#->" for line in neutral(text, 200).splitlines())


def test_no_html():
    assert "<" not in neutral("<img src=x onerror=alert(1)>", 200)


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200b", "\x00", "\x1b[1m", "\ud800", "\r"]
)
def test_nothing_is_hidden(hidden):
    assert hidden not in neutral(f"a{hidden}b", 200)


def test_its_length_is_limited():
    assert len(neutral("x" * 10_000, 200)) == 200
    assert "@everyone" not in neutral("x" * 195 + "@everyone", 204)


def test_plain_text_stays_as_it_is():
    text = "Email could not be sent through “Office”.\n\nsmtp.example.com:587 said: 535 5.7.8 No"
    assert neutral(text, 200) == text
    assert neutral("admin@example.com, snake_case", 200) == "admin@example.com, snake_case"
