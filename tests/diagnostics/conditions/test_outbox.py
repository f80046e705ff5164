"""The outbox that nobody processes."""

import pytest

from tests.support.log_entries import fill_outbox
from wagtail_smtp.diagnostics.conditions import outbox
from wagtail_smtp.diagnostics.conditions.base import DAILY
from wagtail_smtp.live.db import expressions
from wagtail_smtp.models import OutboxMessage

QA = "qa@example.com"
OVERDUE = outbox.OVERDUE.total_seconds()


def _fill(count, *, overdue_by, environment="", **values):
    fill_outbox(count, environment)
    rows = OutboxMessage.objects.filter(environment=environment)
    rows.update(due_at=expressions.now(-OVERDUE - overdue_by), **values)


def _outbox():
    return list(outbox.overdue_outbox())


@pytest.mark.parametrize("priority", [0, 1])
def test_an_outbox_is_reported_once_its_messages_are_overdue(db, priority):
    assert _outbox() == []
    _fill(3, overdue_by=-20, priority=priority)
    assert _outbox() == []
    _fill(0, overdue_by=20)
    [found] = _outbox()
    assert (found.kind, found.cause, found.interval) == ("waiting", "outbox", DAILY)
    assert found.paragraphs[0].startswith("3 messages in the outbox are overdue, the oldest by 15 ")
    assert found.subject == "Email problem: The outbox is not being processed"
    assert "smtp_status" in found.paragraphs[-1]


def test_one_message_is_not_called_several(db):
    _fill(1, overdue_by=3600)
    [found] = _outbox()
    assert found.paragraphs[0].startswith("1 message in the outbox is overdue by 75 minutes.")


def test_only_so_many_messages_are_counted(db, monkeypatch):
    monkeypatch.setattr(outbox, "_COUNTED", 5)
    _fill(7, overdue_by=60)
    first = list(OutboxMessage.objects.values_list("pk", flat=True)[:2])
    OutboxMessage.objects.filter(pk__in=first).update(priority=0)
    [found] = _outbox()
    assert found.paragraphs[0].startswith("At least 5 messages")


@pytest.mark.parametrize("state", ["sending", "held"])
def test_only_waiting_messages_are_overdue(db, state):
    _fill(3, overdue_by=60, state=state)
    assert _outbox() == []


def test_messages_that_came_with_a_copy_are_not_overdue(make_set, reload, run_in, configure):
    run_in("production")
    make_set()
    reload()
    _fill(3, overdue_by=60, environment="production")
    assert len(_outbox()) == 1
    run_in("staging")
    _fill(3, overdue_by=60, environment="staging")
    # Held: none of them can be sent, for a reason that the admin shows.
    assert _outbox() == []
    configure(REDIRECT_ALL_TO=[QA])
    [found] = _outbox()
    assert found.paragraphs[0].startswith("3 ")
    OutboxMessage.objects.filter(environment="staging").delete()
    assert _outbox() == []


def test_without_time_zones(db, settings):
    settings.USE_TZ = False
    assert _outbox() == []
    _fill(1, overdue_by=3600)
    [found] = _outbox()
    assert "by 75 minutes" in found.paragraphs[0]
