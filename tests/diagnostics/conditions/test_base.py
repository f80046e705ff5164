"""What all conditions have in common."""

import pytest

from wagtail_smtp.diagnostics.conditions.expiring import expiring
from wagtail_smtp.diagnostics.conditions.limits import sending_limits
from wagtail_smtp.diagnostics.conditions.mailboxes import unread_mailboxes
from wagtail_smtp.diagnostics.conditions.outbox import overdue_outbox
from wagtail_smtp.diagnostics.conditions.rates import unusual_rates
from wagtail_smtp.diagnostics.conditions.redirects import long_redirects

ALL = (expiring, long_redirects, overdue_outbox, sending_limits, unread_mailboxes, unusual_rates)


@pytest.mark.parametrize("find", ALL)
def test_nothing_is_live(db, find):
    assert list(find()) == []


@pytest.mark.parametrize("find", ALL)
def test_without_time_zones(make_set, reload, settings, find):
    settings.USE_TZ = False
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    reload()
    assert list(find()) == []
