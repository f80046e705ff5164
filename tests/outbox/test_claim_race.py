"""Workers that look at the outbox at the same moment."""

import pytest
from django.core.mail import send_mail
from django.db import connection

from wagtail_smtp.outbox import claims


@pytest.mark.django_db
def test_a_worker_that_comes_second_claims_other_messages(configure, settings):
    """It doesn't take the outbox for empty because another claimed what it saw."""
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    for number in range(2):
        send_mail(f"{number}", "Body", None, ["someone@example.org"])
    first = []

    def claim_before(execute, sql, *args):
        if sql.startswith("UPDATE") and not first:
            first.append(None)
            first[0] = claims.claim(1)[1]
        return execute(sql, *args)

    with connection.execute_wrapper(claim_before):
        _token, second = claims.claim(1)

    assert [len(first[0]), len(second)] == [1, 1]
    assert first[0][0].pk != second[0].pk
