"""Headers that let people unsubscribe, as mail programs read them, and their tokens."""

from email import policy
from email.message import EmailMessage as PythonMessage

import pytest
from django.core.mail import EmailMessage
from django.core.signing import BadSignature, SignatureExpired

from wagtail_smtp.list_headers import (
    read_unsubscribe_token,
    unsubscribe_headers,
    unsubscribe_token,
)

URL = "https://www.example.com/unsubscribe/ab-c:1d/"
ONE_CLICK = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"url": URL}, {"List-Unsubscribe": f"<{URL}>", **ONE_CLICK}),
        ({"url": URL, "one_click": False}, {"List-Unsubscribe": f"<{URL}>"}),
        (
            {"url": "http://www.example.com/", "one_click": False},
            {"List-Unsubscribe": "<http://www.example.com/>"},
        ),
        (
            {"mailto": "list+news@example.com"},
            {"List-Unsubscribe": "<mailto:list%2Bnews@example.com?subject=unsubscribe>"},
        ),
        (
            {"url": URL, "mailto": "off@example.com", "subject": "Aus & weg"},
            {
                "List-Unsubscribe": f"<{URL}>, <mailto:off@example.com?subject=Aus%20%26%20weg>",
                **ONE_CLICK,
            },
        ),
        (
            {"mailto": "off@example.com", "subject": ""},
            {"List-Unsubscribe": "<mailto:off@example.com>"},
        ),
    ],
)
def test_the_headers(arguments, headers):
    assert unsubscribe_headers(**arguments) == headers


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"url": "http://www.example.com/"},
        {"url": "www.example.com/unsubscribe/"},
        {"url": "https:///unsubscribe/"},
        {"url": "/unsubscribe/", "one_click": False},
        {"url": "javascript:alert(1)", "one_click": False},
        {"url": f"{URL}\r\nBcc: evil@example.com"},
        {"url": f"{URL}\n"},
        {"url": f"{URL}>, <https://evil.example.com/"},
        {"url": f"{URL} x"},
        {"url": "https://www.example.com/ü/"},
        {"url": f"{URL}{'x' * 800}"},
        {"mailto": "Ada <ada@example.com>"},
        {"mailto": "ada@example.com\nBcc: x@example.com"},
        {"mailto": "ada@größe.example"},
        {"mailto": "ada"},
        {"mailto": "ada@example.com", "subject": "a\r\nb"},
    ],
)
def test_what_can_not_be_in_the_headers(arguments):
    with pytest.raises(ValueError, match=r"unsubscrib"):
        unsubscribe_headers(**arguments)


class NewerMessage(EmailMessage):
    """A message with Python's newer policy, as of Django 6.0."""

    def message(self, **kwargs):
        made = PythonMessage(policy=policy.default)
        for name, value in {
            "Subject": self.subject,
            "To": self.to[0],
            **self.extra_headers,
        }.items():
            made[name] = value
        made.set_content(self.body)
        return made


@pytest.mark.parametrize("kind", [EmailMessage, NewerMessage])
@pytest.mark.parametrize("length", [5, 60, 500])
def test_a_long_link_is_sent_as_it_is(smtp_server, make_set, reload, kind, length):
    """An encoded or broken link is no link for mail programs."""
    make_set(smtp_server)
    reload()
    headers = unsubscribe_headers(f"{URL}{'x' * length}/", mailto="off@example.com")
    kind("News", "Body", to=["ada@example.org"], headers=headers).send()
    [received] = smtp_server.received
    head = received.content.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").decode()
    lines = dict(line.split(":", 1) for line in head.splitlines())
    for name, value in headers.items():
        assert lines[name].split() == value.split()


def test_a_redirected_message_has_none(smtp_server, make_set, reload):
    """Someone who tests would unsubscribe the real recipient."""
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    headers = unsubscribe_headers(URL) | {"list-id": "<news.example.com>", "LIST-Help": "<x>"}
    EmailMessage("News", "Body", to=["ada@example.org"], headers=headers).send()
    [received] = smtp_server.received
    assert received.recipients == ["qa@example.com"]
    assert not [name for name in received.message if name.lower().startswith("list-")]


def test_a_token_says_who_and_from_what():
    assert read_unsubscribe_token(unsubscribe_token("ada@example.org", "news")) == (
        "ada@example.org",
        "news",
    )
    assert read_unsubscribe_token(unsubscribe_token("42")) == ("42", "")
    # It needs no encoding in a URL, so it can be a part of one.
    url = f"https://www.example.com/{unsubscribe_token('ä/ü@example.org', 'a b')}/"
    assert unsubscribe_headers(url)


def test_a_token_can_not_be_made_up_or_changed(settings):
    token = unsubscribe_token("ada@example.org")
    for wrong in ("", "x", token[:-1], "x" + token, token.replace(":", "", 1)):
        with pytest.raises(BadSignature):
            read_unsubscribe_token(wrong)
    with pytest.raises(SignatureExpired):
        read_unsubscribe_token(token, max_age=-1)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "a new key of the project, for this test"
    with pytest.raises(BadSignature):
        read_unsubscribe_token(token)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert read_unsubscribe_token(token) == ("ada@example.org", "")
