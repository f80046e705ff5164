"""Claims: in the outbox's order, released while nothing was sent."""

import time
import uuid

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection

from tests.support.outbox import claim
from tests.support.servers.hostile import HostileServer
from wagtail_smtp import signals
from wagtail_smtp.live.db import expressions
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox import worker as outbox_worker
from wagtail_smtp.outbox.claims import Progress
from wagtail_smtp.outbox.outcomes import write_and_claim
from wagtail_smtp.outbox.worker import Worker


@pytest.fixture
def _queued(db, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    for number in range(25):
        EmailMessage(str(number), "Body", "shop@example.com", ["real@example.org"]).send()


def _states():
    return sorted(OutboxMessage.objects.values_list("state", flat=True))


@pytest.mark.usefixtures("_queued")
def test_claims_follow_the_order_of_the_outbox():
    found = [claim() for _ in range(4)]
    assert [len(rows) for rows in found] == [10, 10, 5, 0]
    assert [len({row.token for row in rows}) for rows in found] == [1, 1, 1, 0]
    subjects = [row.entry.subject for rows in found for row in rows]
    assert subjects == [str(number) for number in range(25)]


@pytest.mark.usefixtures("_queued")
def test_a_claim_is_released():
    first, _second = claim(), claim()
    claims.release(first[0].token)
    assert _states() == ["sending"] * 10 + ["waiting"] * 15


@pytest.mark.usefixtures("_queued")
def test_part_of_a_claim_is_released():
    rows = claim()
    claims.release(rows[0].token, rows[4:])
    claims.release(rows[0].token, [])
    assert _states() == ["sending"] * 4 + ["waiting"] * 21


@pytest.mark.usefixtures("_queued")
def test_a_claim_whose_commit_was_not_confirmed_is_found_again():
    token = uuid.uuid4()
    write_and_claim(token, (), 2)
    before = claims.claimed(token)
    write_and_claim(token, (), 2)
    again = claims.claimed(token)
    assert [row.pk for row in again[:2]] == [row.pk for row in before]
    assert _states() == ["sending"] * 4 + ["waiting"] * 21


@pytest.mark.usefixtures("_queued")
def test_a_worker_that_ends_leaves_no_claim(make_set, reload):
    with HostileServer() as server:
        make_set(server)
        reload()
        worker = Worker()
        assert worker.drain(seconds=0) == 1
        worker.close()
    assert _states() == ["waiting"] * 24
    assert LogEntry.objects.filter(state="sent").count() == 1


class Slow(BaseEmailBackend):
    """Takes over a second for a message, and counts the messages that are sending meanwhile."""

    counts: list[int] = []

    def send_messages(self, email_messages):
        self.counts.append(_states().count("sending"))
        time.sleep(1.01)
        return len(email_messages)


@pytest.mark.usefixtures("_queued")
def test_with_a_slow_server_one_message_at_a_time_is_sending(configure, monkeypatch):
    """If the worker dies then, only that one is unknown."""
    monkeypatch.setattr(Slow, "counts", [])
    configure(STANDARD={"BACKEND": f"{__name__}.Slow"})
    worker = Worker()

    def stop(**kwargs):
        if len(Slow.counts) == 2:
            worker.stop()

    signals.message_sent.connect(stop)
    try:
        worker.drain()
    finally:
        signals.message_sent.disconnect(stop)
        worker.close()
    assert Slow.counts == [1, 1, 1]  # it stops once the second outcome is written


@pytest.mark.usefixtures("_queued")
def test_outcomes_of_large_messages_are_written_before_more_are_sent(configure, monkeypatch):
    """Until then a worker holds each message."""
    monkeypatch.setattr(outbox_worker, "_BYTES_OF_WINDOW", 100)
    waiting = []

    def count(self, email_messages):
        sent = LogEntry.objects.filter(state="sent").count()
        waiting.append(LogEntry.objects.count() - sent)
        return len(email_messages)

    monkeypatch.setattr(Quick, "send_messages", count)
    configure(STANDARD={"BACKEND": f"{__name__}.Quick"})
    worker = Worker()
    worker.drain()
    worker.close()
    assert waiting == [*range(len(waiting), 0, -1)]


class Quick(BaseEmailBackend):
    """Sends nothing, at once."""


class TimeIsOver(BaseException):
    """As a task system raises it in a signal handler."""


class Interrupted(BaseEmailBackend):
    """Is interrupted during the fourth message, the first of the third window."""

    subjects: list[str] = []

    def send_messages(self, email_messages):
        self.subjects.extend(message.subject for message in email_messages)
        if len(self.subjects) == 4:
            raise TimeIsOver
        return len(email_messages)


@pytest.mark.usefixtures("_queued")
def test_what_of_a_window_had_not_begun_goes_back_when_a_worker_is_interrupted(
    configure, monkeypatch
):
    monkeypatch.setattr(Interrupted, "subjects", [])
    configure(STANDARD={"BACKEND": f"{__name__}.Interrupted"})
    worker = Worker()
    with pytest.raises(TimeIsOver):
        worker.drain()
    worker.close()
    assert _states() == ["sending"] + ["waiting"] * 21


@pytest.mark.usefixtures("_queued")
def test_without_row_locks_a_worker_that_comes_second_claims_other_messages(monkeypatch):
    """It doesn't take the outbox for empty because another claimed what it saw."""
    monkeypatch.setattr(connection.features, "has_select_for_update_skip_locked", False)
    monkeypatch.setattr(connection.features, "allow_sliced_subqueries_with_in", False)
    first = []

    def claim_before(execute, sql, *args):
        if sql.startswith("UPDATE") and not first:
            first.append(None)
            first[0] = claim(1)
        return execute(sql, *args)

    with connection.execute_wrapper(claim_before):
        second = claim(1)

    assert [len(first[0]), len(second)] == [1, 1]
    assert first[0][0].pk != second[0].pk


def _claimed(begun):
    """A worker's progress that has begun to send some of four messages; and the messages."""
    progress, token = Progress(), uuid.uuid4()
    progress.claiming(token)
    write_and_claim(token, (), 4)
    rows = claims.claimed(token)
    if begun is not None:
        progress.claimed(len(rows))
        for index in range(begun):
            progress.sending(index)
    return progress, rows


@pytest.mark.usefixtures("_queued")
@pytest.mark.parametrize("begun", [None, 0, 1, 3, 4])
def test_of_a_dead_workers_claim_the_messages_it_had_not_begun_to_send_are_put_back(begun):
    progress, rows = _claimed(begun)
    claim(2)  # another worker's
    kept = begun or 0
    assert progress.end_claim() == 4 - kept
    assert _states() == ["sending"] * (kept + 2) + ["waiting"] * (23 - kept)
    time.sleep(0.01)
    lost = claims.lost()
    assert sorted(row.pk for row in lost) == [row.pk for row in rows[:kept]]
    assert all(claims.is_still_lost(row) for row in lost)


@pytest.mark.usefixtures("_queued")
def test_a_claim_of_which_a_message_was_deleted_is_left_alone():
    progress, rows = _claimed(2)
    OutboxMessage.objects.filter(pk=rows[0].pk).delete()
    assert progress.end_claim() == 0
    assert _states() == ["sending"] * 3 + ["waiting"] * 21


@pytest.mark.usefixtures("_queued")
def test_a_worker_that_died_while_it_noted_a_claim_says_nothing():
    memory = bytearray(Progress.SIZE)
    progress = Progress(memory)
    token = uuid.uuid4()
    write_and_claim(token, (), 4)
    assert progress.end_claim() == 0
    progress.claiming(token)
    memory[-2] = 255
    assert progress.end_claim() == 0
    assert _states() == ["sending"] * 4 + ["waiting"] * 21


@pytest.mark.usefixtures("_queued")
def test_a_time_of_the_database_is_found_again():
    OutboxMessage.objects.update(lease_until=expressions.now())
    times = set(OutboxMessage.objects.values_list("lease_until", flat=True))
    assert OutboxMessage.objects.filter(lease_until__in=times).count() == 25
