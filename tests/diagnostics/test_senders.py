"""Hints about backups that send from another domain than the set they replace."""

import pytest

from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.diagnostics.check_set import sender_hints


def config(name, sender="", **values):
    return SettingsSetConfig(name, name, sender_address=sender, **values)


@pytest.mark.parametrize(
    ("first", "backup", "has_hint"),
    [
        ("a@example.com", "b@example.net", True),
        ("a@example.com", "b@example.com", False),
        ("a@example.com", "b@EXAMPLE.com", False),
        ("a@example.com", "b@mail.example.com", False),
        ("a@news.example.com", "b@example.com", False),
        ("a@example.com", "b@badexample.com", True),
        ("a@bücher.example", "b@xn--bcher-kva.example", False),
        # Messages set their own sender, so nothing is known.
        ("", "b@example.net", False),
        ("a@example.com", "", False),
    ],
)
def test_domains(first, backup, has_hint):
    sets = (config("First", first), config("Spare", backup, backup=True))
    hints = sender_hints(Configuration(sets=sets))
    assert [hint.set_name for hint in hints] == (["Spare"] if has_hint else [])
    if has_hint:
        assert "“First”" in str(hints[0].message)
        assert backup.partition("@")[2] in str(hints[0].message)
        assert hints[0].field == "sender_address"


def test_the_username_is_the_default_sender():
    login = {"authentication": "password", "backup": True, "username": "b@example.net"}
    sets = (config("First", "a@example.com"), config("Spare", **login))
    assert len(sender_hints(Configuration(sets=sets))) == 1


def test_only_the_replaced_set_counts():
    sets = (
        config("Invoices", "a@example.com", categories=("invoice",)),
        config("News", "a@example.net", categories=("form",)),
        config("No backup", "a@example.org"),
        config("Spare", "a@example.net", categories=("form",), backup=True),
    )
    assert sender_hints(Configuration(sets=sets)) == ()


def test_one_hint_per_backup():
    sets = (
        config("First", "a@example.com"),
        config("One", "a@example.net", backup=True),
        config("Two", "a@example.org", backup=True),
    )
    assert [hint.set_name for hint in sender_hints(Configuration(sets=sets))] == ["One", "Two"]


def test_no_sets():
    assert sender_hints(Configuration()) == ()
