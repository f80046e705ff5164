"""Certificates and consents that expire soon."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.mail import send_mail
from django.utils import timezone
from django.utils.formats import date_format

from wagtail_smtp.diagnostics import expiry
from wagtail_smtp.diagnostics.conditions.expiring import expiring
from wagtail_smtp.diagnostics.status import status
from wagtail_smtp.live import consents
from wagtail_smtp.models import Secret, ServerCertificate, SettingsSet
from wagtail_smtp.transports import tls
from wagtail_smtp.transports.oauth.client import Token

DAY = 24 * 3600
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_certificates():
    tls.forget()
    yield
    tls.forget()


@pytest.mark.parametrize(
    ("left", "days", "validity", "reached"),
    [
        (timedelta(days=30) + HOUR, (1, 7, 30), None, None),
        (timedelta(days=30) - HOUR, (1, 7, 30), None, 30),
        (timedelta(days=7) + HOUR, (1, 7, 30), None, 30),
        (timedelta(days=7) - HOUR, (1, 7, 30), None, 7),
        (timedelta(days=1) - HOUR, (1, 7, 30), None, 1),
        (-HOUR, (1, 7, 30), None, None),
        (timedelta(days=29), (1, 7, 30), 180, 30),
        (timedelta(days=29), (1, 7, 30), 179, None),
        (timedelta(days=6), (1, 7), 90, 7),  # Let's Encrypt
        (timedelta(days=8), (1, 7), 90, None),
        (timedelta(days=6), (1, 7), 30, None),
        (timedelta(hours=23), (1, 7), 30, 1),
        (timedelta(hours=23), (1, 7), 14, None),  # renewed all the time
        (timedelta(hours=23), (1, 7), 15, 1),
    ],
)
def test_the_limit_that_is_reached(left, days, validity, reached):
    at = timezone.now() + left
    starts_at = None if validity is None else at - timedelta(days=validity)
    assert expiry.reached(at, days, starts_at) == reached


class _Shown:
    """What an encrypted connection tells about the server's certificate."""

    def __init__(self, starts, expires):
        self._dates = {"notBefore": starts, "notAfter": expires}

    def getpeercert(self):
        return self._dates


def _see(host="127.0.0.1", port=587, *, left=3.0, validity=90):
    """A connection shows a certificate with so many days left."""
    expires = datetime.now(UTC) + timedelta(days=left)
    starts = expires - timedelta(days=validity)
    dates = [f"{at:%b %d %H:%M:%S %Y} GMT" for at in (starts, expires)]
    tls.remember(host, port, _Shown(*dates))
    expiry.store_certificates()


def _age(days):
    """The last connection was earlier."""
    for row in ServerCertificate.objects.all():
        row.seen_at -= timedelta(days=days)
        row.save()


def _found():
    return [(each.kind, each.name, each.server, each.days) for each in expiry.expiring()]


def test_a_message_remembers_the_certificate(smtp_server, make_set, reload):
    make_set(smtp_server, name="Office")
    reload()
    assert expiry.expiring() == ()
    assert send_mail("Hi", "Body", "shop@example.com", ["ada@example.org"]) == 1
    [(server, validity)] = tls.remembered().items()
    assert server == ("127.0.0.1", smtp_server.port)
    assert validity.starts_at < validity.seen_at < validity.expires_at
    expiry.store_certificates()
    row = ServerCertificate.objects.get()
    assert row.server == f"127.0.0.1:{smtp_server.port}"
    assert expiry.expiring() == ()
    ServerCertificate.objects.update(expires_at=timezone.now() + timedelta(days=6))
    assert _found() == [("certificate", "Office", row.server, 7)]


def test_a_certificate_is_reported_at_each_limit_once(make_set, reload):
    make_set(name="Office")
    reload()
    causes = set()
    for left in (7.5, 6.9, 6.0, 1.1, 0.9, 0.1):
        _see(left=left)
        causes |= {each.cause.rpartition(" ")[2] for each in expiring()}
        assert bool(causes) == (left < 7)
    assert causes == {"1", "7"}
    [found] = expiring()
    assert (found.kind, found.subject.partition(" expires on ")[0]) == (
        "expiring",
        "Email: The certificate of 127.0.0.1:587",
    )
    assert "“Office”" in found.paragraphs[0]
    assert found.interval > 30 * DAY


def test_a_renewed_certificate_is_not_reported(make_set, reload):
    make_set()
    reload()
    _see(left=3)
    assert len(_found()) == 1
    _see(left=80)
    assert _found() == []


@pytest.mark.parametrize(("age", "is_written"), [(0.9, False), (1.1, True)])
def test_a_certificate_is_written_once_a_day(make_set, reload, age, is_written):
    make_set()
    reload()
    _see()
    _age(age)
    before = ServerCertificate.objects.get().seen_at
    expiry.store_certificates()
    assert (ServerCertificate.objects.get().seen_at > before) == is_written
    # Nothing is written if this process has seen no newer one.
    ServerCertificate.objects.update(seen_at=timezone.now(), expires_at=timezone.now())
    expiry.store_certificates()
    assert _found() == []


def test_a_certificate_that_was_seen_long_ago_may_have_been_renewed(make_set, reload):
    make_set()
    reload()
    _see()
    _age(1.9)
    assert len(_found()) == 1
    _age(0.2)
    assert _found() == []


def test_a_certificate_that_never_expires(make_set, reload):
    """RFC 5280 4.1.2.5 has a date for it, the last second of the year 9999."""
    make_set()
    reload()
    tls.remember("127.0.0.1", 587, _Shown("Jan  1 00:00:00 1950 GMT", "Dec 31 23:59:59 9999 GMT"))
    expiry.store_certificates()
    assert ServerCertificate.objects.get().expires_at.year >= 8999
    assert _found() == []


@pytest.mark.parametrize("values", [{"encryption": "none"}, {"port": 588}, {"enabled": False}])
def test_only_servers_of_live_sets_with_tls_matter(make_set, reload, values, configure):
    configure(ALLOW_PLAINTEXT_AUTH=True)
    make_set(**values)
    reload()
    _see()
    assert ServerCertificate.objects.count() == 0
    assert _found() == []


def test_one_server_of_two_sets_is_reported_once(make_set, reload):
    make_set(name="First", host="SMTP.example.com")
    make_set(name="Second", host="smtp.example.com")
    reload()
    _see("SMTP.example.com")
    assert _found() == [("certificate", "First", "smtp.example.com:587", 7)]


def test_a_copy_reports_nothing(make_set, reload, run_in):
    run_in("production")
    make_set()
    reload()
    _see()
    run_in("staging")
    assert _found() == []


def test_a_process_remembers_a_limited_number_of_servers():
    shown = _Shown("Jan  1 00:00:00 2020 GMT", "Jan  1 00:00:00 2100 GMT")
    for port in range(1, 1000):
        tls.remember("smtp.example.com", port, shown)
    assert len(tls.remembered()) < 999


def test_dates_are_those_of_the_sites_time_zone(make_set, reload, settings):
    make_set()
    reload()
    _see()
    at = ServerCertificate.objects.get().expires_at
    texts = []
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 25 hours apart
        settings.TIME_ZONE = zone
        [found] = expiring()
        assert date_format(at.astimezone(ZoneInfo(zone)), "DATE_FORMAT") in found.summary
        texts.append(found.summary)
    assert texts[0] != texts[1]


def test_without_time_zones(make_set, reload, settings):
    settings.USE_TZ = False
    make_set(name="Office")
    reload()
    _see()
    assert _found() == [("certificate", "Office", "127.0.0.1:587", 7)]
    [found] = expiring()
    assert date_format(ServerCertificate.objects.get().expires_at) in found.summary
    _see(left=80)
    assert _found() == []


OAUTH = {
    "provider": "other",
    "flow": "consent",
    "client_id": "c-1",
    "authorize_url": "https://login.example.com/authorize",
    "token_url": "https://login.example.com/token",
    "scope": "smtp offline_access",
}


@pytest.fixture
def consent(make_set, reload):
    """A live set with a consent: ``consent(ends_in=…, dated=…)``, in days."""
    item = make_set(name="Office", authentication="oauth2", oauth=OAUTH)

    def give(*, ends_in=0.0, dated=0.0):
        now = time.time()
        ends = now + ends_in * DAY if ends_in else 0.0
        token = Token("a", "r", now, now + 3600, ends, now - dated * DAY)
        consents.keep(item.frozen(()), token, may_reload=True)
        reload()

    return give


@pytest.mark.parametrize(
    ("ends_in", "dated", "days"),
    [
        (0, 0, None),  # the identity provider doesn't say
        (29, 200, 30),
        (31, 200, None),
        (6.9, 50, 7),
        (0.9, 6.1, None),
        (0.9, 20, 1),
        (0.01, 0, None),  # a session that each renewal extends
    ],
)
def test_a_consent_that_ends(consent, ends_in, dated, days):
    consent(ends_in=ends_in, dated=dated)
    expected = [] if days is None else [("consent", "Office", "", days)]
    assert _found() == expected
    for each in expiring():
        assert "the consent for “Office” ends on" in each.subject.replace("The", "the")
        assert "Connect" in each.paragraphs[1]


def test_a_consent_of_a_copy(consent, run_in):
    run_in("production")
    consent(ends_in=3, dated=80)
    assert len(_found()) == 1
    run_in("staging")
    assert _found() == []


@pytest.mark.parametrize(
    ("left", "days"), [(31, None), (30, 30), (8, 30), (7, 7), (2, 7), (1, 1), (0, None), (-5, None)]
)
def test_a_client_secret(make_set, reload, left, days):
    """It expires at the beginning of the day that was entered."""
    day = timezone.localdate() + timedelta(days=left)
    oauth = OAUTH | {"flow": "client", "secret_expires_on": day.isoformat()}
    make_set(name="Office", authentication="oauth2", oauth=oauth | {"authorize_url": ""})
    SettingsSet.objects.update(secret=Secret.store("s", _live_binding(), uuid.uuid4()))
    reload()
    expected = [] if days is None else [("secret", "Office", "", days)]
    assert _found() == expected
    for found in expiring():
        assert found.summary == (
            f"The client secret of “Office” expires on {date_format(day, 'DATE_FORMAT')}"
        )


def _live_binding():
    return SettingsSet.objects.get().frozen(()).binding()


def test_the_stored_secret_does_not_depend_on_its_date(make_set):
    oauth = OAUTH | {"flow": "client"}
    item = make_set(authentication="oauth2", oauth=oauth)
    before = item.frozen(()).binding()
    item.oauth = oauth | {"secret_expires_on": "2027-12-31"}
    assert item.frozen(()).binding() == before
    item.oauth = oauth | {"client_id": "another"}
    assert item.frozen(()).binding() != before


def test_smtp_status_tells_it_too(make_set, reload):
    make_set()
    reload()
    assert status().alarms == ()
    _see()
    [alarm] = status().alarms
    assert alarm.startswith("The certificate of 127.0.0.1:587 expires on ")
