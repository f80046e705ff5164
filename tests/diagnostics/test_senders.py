"""Backups that send from another domain than what they stand in for."""

import pytest

from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.diagnostics.senders import sender_hints


def config(name, sender="", **values):
    return SettingsSetConfig(name, name, sender_address=sender, **values)


@pytest.mark.parametrize(
    ("first", "backup", "is_told"),
    [
        ("a@example.com", "b@example.net", True),
        ("a@example.com", "b@example.com", False),
        ("a@example.com", "b@EXAMPLE.com", False),
        ("a@example.com", "b@mail.example.com", False),
        ("a@news.example.com", "b@example.com", False),
        ("a@example.com", "b@badexample.com", True),
        ("a@bücher.example", "b@xn--bcher-kva.example", False),
        # Messages bring their own sender: nothing is known.
        ("", "b@example.net", False),
        ("a@example.com", "", False),
    ],
)
def test_domains(first, backup, is_told):
    sets = (config("First", first), config("Spare", backup, backup=True))
    hints = sender_hints(Configuration(sets=sets))
    assert [hint.set_name for hint in hints] == (["Spare"] if is_told else [])
    if is_told:
        assert "“First”" in str(hints[0].message)
        assert backup.partition("@")[2] in str(hints[0].message)
        assert hints[0].field == "sender_address"


def test_the_username_is_the_sender_where_none_is_given():
    login = {"authentication": "password", "backup": True, "username": "b@example.net"}
    sets = (config("First", "a@example.com"), config("Spare", **login))
    assert len(sender_hints(Configuration(sets=sets))) == 1


def test_only_what_a_backup_stands_in_for_counts():
    sets = (
        config("Invoices", "a@example.com", categories=("invoice",)),
        config("News", "a@example.net", categories=("form",)),
        config("No backup", "a@example.org"),
        config("Spare", "a@example.net", categories=("form",), backup=True),
    )
    assert sender_hints(Configuration(sets=sets)) == ()


def test_each_backup_is_told_of_once():
    sets = (
        config("First", "a@example.com"),
        config("One", "a@example.net", backup=True),
        config("Two", "a@example.org", backup=True),
    )
    assert [hint.set_name for hint in sender_hints(Configuration(sets=sets))] == ["One", "Two"]


def test_nothing_is_said_of_no_sets():
    assert sender_hints(Configuration()) == ()
