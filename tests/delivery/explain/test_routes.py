"""Which set would carry mail of a category, and why."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from wagtail_smtp import live
from wagtail_smtp.delivery.explain.routes import compare, explain
from wagtail_smtp.models import SettingsSet


def _parts(category):
    told = explain(category)
    return [(step.name.partition(" (")[0], step.role, step.is_used) for step in told.steps]


def test_first_choice_and_backups_and_the_others(sets):
    assert _parts("form") == [
        ("Main", "sends it", True),
        ("Spare", "backup", True),
        ("Invoices", "not for this category, only for invoice", False),
        ("Rest", "not used: it is not a backup", False),
    ]


def test_the_last_resort(sets, settings):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"FALLBACK_TO_STANDARD": True}
    assert _parts("form")[2] == ("standard delivery", "last resort", True)


def test_alerts_may_use_standard_delivery(sets):
    assert ("standard delivery", "last resort", True) in _parts("alert")


def test_a_standard_category(sets):
    told = explain("security")
    assert told.first.startswith("standard delivery")
    assert told.why == "this category always uses standard delivery"
    assert told.redirect.addresses == ("qa@example.com",)


def test_nothing_live(db):
    assert explain("form").first.startswith("standard delivery")


def test_a_blocked_redirect(sets, settings):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"REDIRECT_ALL_TO": []}
    told = explain("form")
    assert told.first == ""
    assert "no valid report email" in told.blocked
    with pytest.raises(CommandError, match="no valid report email"):
        call_command("smtp_explain", "form")


def test_the_command(sets):
    out = StringIO()
    call_command("smtp_explain", "form", stdout=out, no_color=True)
    assert out.getvalue().splitlines() == [
        "Email in category form is sent with Main: the first set that applies.",
        "- Main: sends it",
        "- Spare: backup",
        "- Invoices: not for this category, only for invoice",
        "- Rest: not used: it is not a backup",
        "Redirected by Main to qa@example.com.",
    ]


def test_the_command_names_the_categories_if_there_is_no_such(db):
    with pytest.raises(CommandError, match=r"no category 'nothing'.*invoice"):
        call_command("smtp_explain", "nothing")


def _changed(before, after):
    return {item.category: item for item in compare(before, after) if item.is_changed}


def test_what_another_configuration_changes_for_each_category(sets):
    before = live.current().configuration
    assert _changed(before, before) == {}
    SettingsSet.objects.filter(name="Main").update(redirect=False, categories=["form", "own"])
    changed = _changed(before, live.draft_configuration())
    # No server changes for form mail, but the redirect does.
    assert changed["form"].before.redirect.addresses == ("qa@example.com",)
    assert changed["form"].after.redirect is None
    assert changed["form"].before.carriers == changed["form"].after.carriers
    assert changed["invoice"].before.first == "Main"
    assert changed["invoice"].after.carriers == ("Invoices", "Spare")
    assert changed["security"].after.carriers == changed["security"].before.carriers
    assert "own" in changed  # only a set names it
    assert "-" not in changed


def test_a_redirect_without_an_address_is_a_change(sets):
    before = live.current().configuration
    SettingsSet.objects.get(name="Main").report_emails.all().delete()
    changed = _changed(before, live.draft_configuration())
    assert changed["security"].after.blocked
    assert not changed["security"].before.blocked
