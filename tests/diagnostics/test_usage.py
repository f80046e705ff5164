"""How full limits are, and what is reported about them."""

import io
import json
from contextlib import suppress

import pytest
from django.core.mail import send_mail
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.support.log_entries import fill_outbox
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.usage import age
from wagtail_smtp.config.limits import Limits
from wagtail_smtp.diagnostics import status, usage
from wagtail_smtp.diagnostics.conditions.limits import sending_limits
from wagtail_smtp.exceptions import LimitReached
from wagtail_smtp.live import usage as counting
from wagtail_smtp.live.db import expressions
from wagtail_smtp.models import LogEntry, SettingsSet, SetUsage

DAILY = "550 5.4.5 Daily user sending limit exceeded. - gsmtp"


def use(item: SettingsSet, number: int) -> None:
    """Count recipients of a set."""
    reserved = counting.reserve(str(item.key), Limits(), number, 1, 0, takes_turn=False)
    assert isinstance(reserved, counting.Reservation)
    counting.end(reserved, number)


@pytest.fixture
def limited(make_set, reload):
    make_set(name="Free", categories=["form"])
    item = make_set(name="Office", max_per_minute=900, max_per_hour=1000, max_per_day=1500)
    reload()
    return item


def _status(**options):
    output = io.StringIO()
    with suppress(SystemExit):
        call_command("smtp_status", stdout=output, **options)
    return output.getvalue()


def test_usage(limited):
    [before] = usage.of_live_sets()
    assert (before.name, [each.used for each in before.limits]) == ("Office", [0, 0, 0])
    use(limited, 700)
    age(1440)  # no longer in the last minute
    use(limited, 50)
    [found] = usage.of_live_sets()
    assert [str(each) for each in found.limits] == [
        "50 of 900 per minute",
        "750 of 1,000 per hour",
        "750 of 1,500 per day",
    ]
    assert found.fullest.period == "hour"


def test_no_set_has_limits(make_set, reload):
    assert usage.of_live_sets() == ()
    make_set()
    reload()
    assert usage.of_live_sets() == ()


def test_a_limit_is_reported_at_80_percent_and_when_it_is_reached(limited):
    use(limited, 799)
    assert not list(sending_limits())
    use(limited, 1)
    [nearly] = sending_limits()
    assert nearly.summary == (
        "“Office” has nearly reached its sending limit: 800 of 1,000 per hour"
    )
    assert nearly.kind == "limit"
    use(limited, 200)
    [reached] = sending_limits()
    assert reached.summary == "“Office” has reached its sending limit: 1,000 of 1,000 per hour"
    assert reached.cause != nearly.cause


def test_other_email_has_reached_it_before_the_reserve(limited, configure):
    configure(STANDARD_CATEGORIES=())
    use(limited, 899)
    assert not usage.of_live_sets()[0].limits[1].is_reached
    use(limited, 1)
    assert usage.of_live_sets()[0].limits[1].is_reached


def test_the_limit_per_minute_is_not_reported(make_set, reload):
    item = make_set(name="Office", max_per_minute=10)
    reload()
    use(item, 10)
    assert not list(sending_limits())


def test_a_reported_quota(make_set, reload, settings):
    with HostileServer(faults=[Fault("mail", "refuse", DAILY)]) as server:
        make_set(server, name="Office")
        reload()
        with pytest.raises(LimitReached):
            send_mail("Hi", "Body", "site@example.com", ["ada@example.org"])
    [found] = sending_limits()
    assert found.summary.startswith("“Office” is paused until ")
    assert "5.4.5 Daily" in found.paragraphs[0]
    assert "quota used up, not used until" in _status()
    [item] = json.loads(_status(json=True))["sets"]
    assert item["usage"]["reply"].startswith("550 5.4.5 Daily")
    age(3 * 1440)
    assert not list(sending_limits())


def test_smtp_status(limited):
    use(limited, 412)
    assert "   recipients: 412 of 1,500 per day\n" in _status()
    free, office = json.loads(_status(json=True))["sets"]
    assert free["usage"] is None
    assert office["usage"]["limits"][2] == {
        "period": "day",
        "used": 412,
        "limit": 1500,
        "is_reached": False,
    }


def test_waiting_for_a_limit_is_no_problem(limited):
    fill_outbox(1, "")
    old = {"created_at": expressions.now(-7200), "state": "deferred"}
    LogEntry.objects.update(cause="limit-reached", **old)
    assert status.problems() == ()
    LogEntry.objects.update(cause="try-later")
    assert status.problems() != ()


def test_rows_are_pruned_once_nothing_counts(limited):
    use(limited, 1)
    assert counting.prune() == 0
    SetUsage.objects.update(changed_at=expressions.now(-3 * 86400))
    assert counting.prune() == 1
    assert not SetUsage.objects.exists()


def test_usage_is_read_with_one_query(limited):
    with CaptureQueriesContext(connection) as queries:
        usage.of_live_sets()
    assert len([each for each in queries if SetUsage._meta.db_table in each["sql"]]) == 1
