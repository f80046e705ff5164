"""Rows of alerts: one process adds each of them."""

from django.db import connection

from wagtail_smtp.alerts import AlertKind, Report
from wagtail_smtp.channels import rows
from wagtail_smtp.live.db import expressions
from wagtail_smtp.models import Alert


def test_a_process_that_is_slower_by_a_moment_adds_none(db):
    """Another one replaces the row between two statements of this one."""
    report = Report(AlertKind.WAITING, "cause", "Subject", interval=60)
    rows.add(report)
    Alert.objects.update(until=expressions.now(-1))
    others = []

    def be_overtaken(execute, sql, *args):
        if sql.startswith("UPDATE") and not others:
            others.append(None)
            others[0] = rows.add(report)
        return execute(sql, *args)

    with connection.execute_wrapper(be_overtaken):
        added = rows.add(report)
    assert isinstance(others[0], Alert)
    assert added == 60
