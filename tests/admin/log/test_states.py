"""States are consistent, don't rely on colour alone, and link to what has to change."""

import re

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.html import escape

from tests.admin.log.test_actions import shown, url
from tests.support.log_entries import make_entry
from wagtail_smtp.admin import labels
from wagtail_smtp.exceptions import MessageDeferred
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import RecipientState, State

SETS = reverse("wagtailsnippets_wagtail_smtp_settingsset:list")


def _failed(item=None, **values):
    key = item.key if item else None
    entry = make_entry(state="failed", via="Office", set_key=key, cause="login-refused", **values)
    entry.recipients.update(state="deferred")
    entry.attempts.create(
        via="Office",
        began_at=timezone.now(),
        seconds=0.5,
        state="deferred",
        phase="auth",
        code=535,
        reply="5.7.8 Bad credentials",
    )
    return entry


@pytest.mark.parametrize("state", ["failed", "refused", "blocked", "cancelled", "too_large"])
def test_recipients_agree_with_their_entry(state):
    entry = LogEntry(state=state)
    for open_state in (RecipientState.DEFERRED, RecipientState.WAITING, RecipientState.NOT_SENT):
        row = entry.recipients.model(state=open_state)
        assert f'data-state="{state}"' in labels.recipient_tag(row, entry)
    row = entry.recipients.model(state=RecipientState.REDIRECTED)
    assert 'data-state="redirected"' in labels.recipient_tag(row, entry)


def test_of_what_waits_the_recipients_wait():
    entry = LogEntry(state="deferred")
    row = entry.recipients.model(state=RecipientState.DEFERRED)
    assert 'data-state="deferred"' in labels.recipient_tag(row, entry)


def test_the_page_of_a_failed_message(admin_client):
    page = shown(admin_client.get(url("entry", _failed(reason="535 Bad credentials"))))
    assert "535 Bad credentials" in page
    assert set(re.findall(r'data-state="(\w+)"', page)) == {"failed"}
    assert "help-critical" not in page.partition('id="main"')[2]  # "Go to the first error"
    assert ">auth<" not in re.sub(r"\s", "", page)


def test_every_state_has_an_icon_of_its_own_look():
    look = re.compile(r"wsmtp-state--(\w+).*#icon-([\w-]+)")
    looks = {
        state: look.search(labels.state_tag(state)).groups() for state, _label in State.choices
    }
    assert looks["sent"] != looks["failed"] != looks["queued"] != looks["unknown"]


def test_phases_are_words():
    known = re.findall(r"``(\w+)``", MessageDeferred.__mro__[1].__doc__)
    assert known
    for phase in known:
        if phase != "standard":
            assert str(labels.PHASES[phase]) != phase


def test_seconds_follow_the_language():
    row = LogEntry().attempts.model(seconds=1.499)
    with translation.override("de"):
        assert "1,50" in labels.duration_label(row)


def test_a_failed_message_leads_to_the_settings_and_back(admin_client, make_set, reload, make_user):
    item = make_set(name="Office")
    reload()
    entry = _failed(item)
    page = shown(admin_client.get(url("entry", entry)))
    edit = reverse("wagtailsnippets_wagtail_smtp_settingsset:edit", args=[item.pk])
    assert 'data-cause="' in page
    assert re.search(rf'href="{edit}" data-set-settings', page)
    cache.clear()
    for path in (edit, SETS):
        page = shown(admin_client.get(path))
        assert f'data-failing="{item.key}"' in page
        assert url("entry", entry) in page
    # Without permission for the log: no link to it.
    admin_client.force_login(make_user("change_settingsset"))
    page = shown(admin_client.get(edit))
    assert f'data-failing="{item.key}"' in page
    assert url("entry", entry) not in page
    admin_client.force_login(make_user("view_logentry", name="reader"))
    assert "data-set-settings" not in shown(admin_client.get(url("entry", entry)))


def test_a_set_that_sends_again_is_not_failing(admin_client, make_set, reload):
    item = make_set(name="Office")
    reload()
    _failed(item)
    make_entry(state="sent", via="Office", set_key=item.key)
    assert "data-failing" not in shown(admin_client.get(SETS))


def test_a_set_whose_message_was_resent_by_another_is_not_failing(admin_client, make_set, reload):
    item = make_set(name="Office")
    reload()
    entry = _failed(item)
    assert "data-failing" in shown(admin_client.get(SETS))
    cache.clear()
    make_entry(state="sent", via="Other", resend_of=entry)
    assert "data-failing" not in shown(admin_client.get(SETS))


def test_a_part_of_an_address_is_found(admin_client):
    make_entry("ada.lovelace@example.org", subject="One")
    make_entry("bob@example.org", subject="Two")
    index = reverse("wagtail_smtp_log:index")
    for text in ("ada", "LOVELACE", "lace@exam"):
        page = admin_client.get(index, {"q": text})
        assert [entry.subject for entry in page.context["object_list"]] == ["One"], text
    assert "%" not in [
        e.subject for e in admin_client.get(index, {"q": "%"}).context["object_list"]
    ]


def test_where_nothing_is_found_the_page_says_what_can_be_searched(admin_client):
    index = reverse("wagtail_smtp_log:index")
    empty = admin_client.get(index).context["view"].no_results_message
    for query in ({"q": "nothing"}, {"state": "failed"}):
        page = admin_client.get(index, query)
        message = page.context["view"].no_results_message
        assert message != empty
        assert "part of a recipient" in message
        assert escape(message) in shown(page)


@pytest.mark.parametrize("text", ["ünï", "ÜNÏ", "Ünïcode", "ünïcode ("])
def test_letters_beyond_ascii_have_two_cases(admin_client, text):
    make_entry(subject="Ünïcode (two)")
    page = admin_client.get(reverse("wagtail_smtp_log:index"), {"q": text})
    assert len(page.context["object_list"]) == 1


def test_foreign_text_has_a_direction_of_its_own(admin_client):
    entry = make_entry("anna@example.org", subject="[Django] Email")
    listing = shown(admin_client.get(reverse("wagtail_smtp_log:index")))
    assert "<bdi>[Django] Email</bdi>" in listing
    assert "<bdi>anna@example.org</bdi>" in listing
    page = shown(admin_client.get(url("entry", entry)))
    assert "<bdi>anna@example.org</bdi>" in page
    assert "<bdi>[Django] Email</bdi>" in page


@pytest.mark.parametrize(("state", "tone"), [("failed", "bad"), ("sent", "good"), (None, "unsure")])
def test_email_delivery_says_first_whether_email_works(admin_client, state, tone):
    if state:
        make_entry(state=state)
    page = shown(admin_client.get(reverse("wagtail_smtp_delivery:index")))
    assert f'data-tone="{tone}"' in page
