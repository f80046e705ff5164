"""What the values of a set may be."""

import pytest
from django.core.mail import send_mail

from wagtail_smtp.config.validation import (
    ascii_address,
    is_ehlo_name,
    is_email_address,
    problems,
)
from wagtail_smtp.config.values import Configuration, SettingsSetConfig, from_json
from wagtail_smtp.live import current
from wagtail_smtp.live.diff import difference


@pytest.mark.threat(15)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.example.com", True),
        ("bücher.example", True),
        ("[192.0.2.1]", True),
        ("[IPv6:2001:db8::1]", True),
        ("[x", False),
        ("[192.0.2.1", False),
        ("[IPv6:2001:db8::1", False),
        ("[2001:db8::1]", False),
        ("[www.example.com]", False),
        ("a]", False),
        ("a b", False),
    ],
)
def test_what_a_client_may_introduce_itself_as(name, expected):
    assert is_ehlo_name(name) is expected


def test_an_international_ehlo_name(make_set, reload, smtp_server):
    make_set(smtp_server, ehlo_name="bücher.example")
    reload()
    assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1


def test_international_addresses_travel_in_ascii():
    assert ascii_address("info@bücher.example") == "info@xn--bcher-kva.example"
    assert ascii_address("webmaster") == "webmaster"
    with pytest.raises(ValueError):
        ascii_address(f"info@{'ü' * 70}.example")


@pytest.mark.parametrize(
    "address",
    ["=?utf-8?q?victim=40evil.example?=@example.com", "=?x?q?a?=@example.com", "a=?@example.com"],
)
def test_an_address_that_a_header_would_decode_is_refused(address):
    assert not is_email_address(address)
    assert is_email_address("a=b?c@example.com")


@pytest.mark.parametrize("name", ["STARTTLS", "AUTH", "chunking", "X"])
def test_only_known_extensions_can_be_ignored(name):
    item = SettingsSetConfig("1", "A", host="h.example", ignored_extensions=(name,))
    assert "ignored_extensions" in {problem.field for problem in problems(item)}


def test_ignored_extensions_go_live_and_are_shown(make_set, reload):
    item = make_set(ignored_extensions=["CHUNKING"])
    reload()
    before = current().configuration
    assert from_json(before.to_json()) == before
    assert before.sets[0].ignored_extensions == ("CHUNKING",)
    item.ignored_extensions = ["CHUNKING", "SIZE"]
    item.save()
    [change] = difference(before, Configuration(sets=(item.frozen(()),)))
    assert [(field.before, field.after) for field in change.fields] == [
        ("CHUNKING", "CHUNKING, SIZE")
    ]
