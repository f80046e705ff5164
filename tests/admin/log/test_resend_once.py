"""Each confirmation sends a message at most once."""

import re

import pytest
from django.core import mail

from tests.admin.log.test_actions import audit, bulk_url, shown, url
from tests.support.log_entries import make_entry, make_message
from wagtail_smtp.models import LogEntry


def confirmation(response):
    """Return the data that the browser posts to confirm."""
    return {"seen": re.search(r'name="seen" value="(\d+)"', response.content.decode())[1]}


@pytest.mark.threat(37)
def test_a_second_click_sends_nothing(admin_client):
    entry = make_entry(message=make_message())
    asked = confirmation(admin_client.get(url("resend", entry)))
    admin_client.post(url("resend", entry), asked)
    response = admin_client.post(url("resend", entry), asked, follow=True)
    assert "Not sent: the message has already been resent." in shown(response)
    assert (len(mail.outbox), audit("resend").count()) == (1, 1)
    # A new confirmation sends it again.
    asked_anew = confirmation(admin_client.get(url("resend", entry)))
    admin_client.post(url("resend", entry), asked_anew)
    assert len(mail.outbox) == 2


def test_a_second_click_sends_none_of_several(admin_client):
    entries = [make_entry(message=make_message()) for _ in range(3)]
    path = bulk_url() + "?" + "&".join(f"id={entry.pk}" for entry in entries)
    asked = confirmation(admin_client.get(path))
    # In the meantime someone else resends one of them.
    admin_client.post(url("resend", entries[0]))
    pages = [shown(admin_client.post(path, asked, follow=True)) for _click in range(2)]
    assert "2 messages were resent." in pages[0]
    assert "(1)" in pages[0]
    assert "(3)" in pages[1]
    assert (len(mail.outbox), audit("resend").count()) == (3, 3)


@pytest.mark.parametrize("seen", ["", "x", "-1", "²", "9" * 30])
def test_a_confirmation_that_says_nonsense_has_seen_nothing(admin_client, seen):
    entry = make_entry(message=make_message())
    for _click in range(2):
        admin_client.post(url("resend", entry), {"seen": seen})
    assert len(mail.outbox) == 1


def test_what_a_pruned_message_left_behind(admin_client):
    # Pruned between the check and the entry of the resend.
    again = make_entry(message=make_message(), resend_of_id=10**6)
    assert "Copy of" not in shown(admin_client.get(url("entry", again)))
    admin_client.post(url("resend", again))
    assert LogEntry.objects.first().resend_of_id == again.resend_of_id  # still linked


def test_a_confirmation_of_another_state(admin_client):
    """The outbox or delivery tracking reports in the meantime that it was sent."""
    entry = make_entry(message=make_message())
    page = admin_client.get(url("resend", entry)).content.decode()
    state = re.search(r'name="state" value="(\w+)"', page)[1]
    LogEntry.objects.filter(pk=entry.pk).update(state="unknown")
    admin_client.post(url("resend", entry), {"seen": "0", "state": state})
    assert (len(mail.outbox), audit("resend").count()) == (0, 0)
    admin_client.post(url("resend", entry), {"seen": "0", "state": "unknown"})
    assert len(mail.outbox) == 1
