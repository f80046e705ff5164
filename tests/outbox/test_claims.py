"""Claims: in windows, released while nothing was sent, lost with their lease."""

from datetime import timedelta

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone

from tests.support.servers.hostile import HostileServer
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.outbox import claims
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
    found = [claims.claim(10) for _ in range(4)]
    assert [len(rows) for _token, rows in found] == [10, 10, 5, 0]
    assert len({token for token, _rows in found}) == 4
    subjects = [row.entry.subject for _token, rows in found for row in rows]
    assert subjects == [str(number) for number in range(25)]


@pytest.mark.usefixtures("_queued")
def test_what_is_not_begun_is_released():
    (first, begun), (second, claimed) = claims.claim(10), claims.claim(10)
    claims.begin(first, begun)
    claims.release(first)
    assert _states() == ["claimed"] * 10 + ["sending"] * 10 + ["waiting"] * 5
    claims.release(second)
    assert _states() == ["sending"] * 10 + ["waiting"] * 15
    assert claims.begin(second, claimed) == []


@pytest.mark.usefixtures("_queued")
def test_what_is_begun_is_released_only_by_name():
    token, rows = claims.claim(10)
    claims.begin(token, rows)
    claims.release(token, rows[4:])
    assert _states() == ["sending"] * 4 + ["waiting"] * 21


@pytest.mark.usefixtures("_queued")
def test_a_claim_whose_lease_ran_out_begins_empty():
    token, rows = claims.claim(10)
    OutboxMessage.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert claims.begin(token, rows) == []


@pytest.mark.usefixtures("_queued")
def test_a_worker_that_ends_leaves_no_claim(make_set, reload):
    """Also after a window whose messages were all begun, there is nothing to release."""
    with HostileServer() as server:
        make_set(server)
        reload()
        worker = Worker()
        assert worker.drain(seconds=0) == 1
        worker.close()
    assert _states() == ["waiting"] * 24
    assert LogEntry.objects.filter(state="sent").count() == 1
