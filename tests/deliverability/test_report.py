"""The whole check: which domains, in which time, and what is remembered."""

import time
from dataclasses import replace

import pytest
from django.utils import translation

from tests.deliverability.conftest import BY_SLUG
from tests.deliverability.zones import ZONE
from tests.support import down_cache
from tests.support.servers import dns_server
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.deliverability import report
from wagtail_smtp.deliverability.senders import Sender, senders
from wagtail_smtp.deliverability.verdicts import Verdict
from wagtail_smtp.transports import name_servers

SET = SettingsSetConfig(
    "k1",
    "Office",
    host="smtp.gmail.com",
    authentication="password",
    username="shop@example.com",
)
LIVE = Configuration(sets=(SET,))
OWN = replace(SET, host="mail.example.com")


def with_sets(*sets):
    return Configuration(sets=tuple(replace(each, key=str(i)) for i, each in enumerate(sets)))


# Which domains


def sent_by(*sets):
    return [(each.domain, each.envelope_domain) for each in senders(with_sets(*sets))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("example.com", "example.com")),
        ({"sender_address": "x@example.org"}, ("example.org", "example.org")),
        (
            {"bounce_address": "b@bounce.example.org"},
            ("example.com", "bounce.example.org"),
        ),
        ({"sender_address": "x@faß.de"}, ("xn--fa-hia.de", "xn--fa-hia.de")),
        ({"host": "email-smtp.eu-west-1.amazonaws.com"}, ("example.com", "")),
        ({"transport": "postmark", "sender_address": "x@example.org"}, ("example.org", "")),
        ({"transport": "postal", "sender_address": "x@example.org"}, ("example.org", "")),
        (
            {
                "transport": "mailgun",
                "provider": {"sender_domain": "mg.example.org"},
                "sender_address": "x@example.org",
            },
            ("example.org", "mg.example.org"),
        ),
        (
            {"host": "smtp.mailgun.org", "username": "postmaster@mg.example.com"},
            ("mg.example.com", "mg.example.com"),
        ),
    ],
)
def test_domains_of_a_set(db, changes, expected):
    assert sent_by(replace(SET, **changes)) == [expected]


@pytest.mark.parametrize("address", ["x@localhost", "x@shop.test", "x@192.0.2.1", "x@a..b"])
def test_domains_that_are_not_public(db, address):
    assert sent_by(replace(SET, sender_address=address)) == []


def test_sets_without_a_sender_use_the_addresses_of_the_project(db, settings):
    settings.DEFAULT_FROM_EMAIL = "Shop <shop@example.com>"
    settings.SERVER_EMAIL = "root@example.net"
    item = replace(SET, username="apikey", host="smtp.sendgrid.net")
    assert sent_by(item) == [("example.com", ""), ("example.net", "")]


def test_sets_that_are_not_used_are_left_out(db):
    other = replace(SET, sender_address="x@example.org")
    assert sent_by(SET, other) == [("example.com", "example.com")]
    assert sent_by(SET, replace(other, backup=True))[1:] == [("example.org", "example.org")]
    assert senders(replace(LIVE, method="standard")) == ()


def test_standard_delivery(db, settings, configure):
    options = {"host": "smtp.gmail.com", "port": 587, "username": "u", "password": "p"}
    backend = "django.core.mail.backends.smtp.EmailBackend"
    configure(STANDARD={"BACKEND": backend, "OPTIONS": options})
    [found] = senders(Configuration())
    assert (found.domain, found.provider) == ("example.com", BY_SLUG["google"])
    options["host"] = "localhost"
    options.update(port=25, username="")
    assert senders(Configuration()) == ()


# The report


def verdicts(found):
    return {
        domain.domain: {finding.topic: finding.verdict.name for finding in domain.findings}
        for domain in found.domains
    }


def test_a_domain_that_is_set_up_well(db, name_server):
    found = report.check(LIVE)
    assert verdicts(found) == {
        "example.com": {"SPF": "GOOD", "DKIM": "GOOD", "DMARC": "GOOD", "MX": "GOOD"}
    }
    [domain] = found.domains
    assert domain.verdict is Verdict.GOOD
    assert domain.senders == ("Office",)


def test_a_server_of_its_own(db, name_server):
    found = verdicts(report.check(with_sets(OWN)))["example.com"]
    assert (found["DKIM"], found["PTR"]) == ("UNKNOWN", "GOOD")


def test_a_domain_of_a_mailbox_provider(db, name_server):
    found = report.check(with_sets(replace(SET, username="shop@gmail.com")))
    assert verdicts(found) == {"gmail.com": {"DMARC": "GOOD"}}
    assert name_server.asked == []


def test_many_domains(db, name_server):
    sets = [
        replace(SET, sender_address=f"x@d{number}.example.org", backup=True) for number in range(20)
    ]
    assert len(report.check(with_sets(*sets)).domains) == report.MOST_DOMAINS


HOSTILE = [
    dns_server.silent,
    dns_server.wrong_id,
    dns_server.garbage,
    dns_server.failing,
    dns_server.only_over_udp_truncated(dns_server.drip),
    dns_server.only_over_udp_truncated(dns_server.flood),
]


@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_servers_end_in_time_and_prove_nothing(db, name_server, fault):
    name_server.faults["*"] = fault
    began = time.monotonic()
    found = report.check(with_sets(OWN, replace(SET, sender_address="x@a.example", backup=True)))
    # It stops asking after four seconds, which a busy machine notices later.
    assert time.monotonic() - began < 10
    everything = {each for topics in verdicts(found).values() for each in topics.values()}
    assert everything == {"UNKNOWN"}


def test_a_domain_can_not_cause_many_queries(db, name_server):
    mx = [f"1 m{number}.example.com." for number in range(60)]
    names = " ".join(f"mx:d{number}.example.com" for number in range(9))
    zone = {f"d{number}.example.com": {"MX": mx} for number in range(9)}
    name_server.zone = ZONE | zone | {"example.com": {"TXT": [f'"v=spf1 {names} ~all"']}}
    report.check(LIVE)
    assert len(name_server.asked) <= name_servers.MOST_QUERIES + report._THREADS


# The cache


def test_answers_are_kept_but_not_their_language(db, name_server, monkeypatch):
    monkeypatch.setattr(report, "_", lambda text: f"{translation.get_language()}: {text}")
    assert report.stored(LIVE) is None
    found = report.check(LIVE)
    asked = len(name_server.asked)
    assert report.stored(LIVE) == found
    with translation.override("de"):
        again = report.stored(LIVE)
        assert again.domains[0].summary.startswith("de: ")
    assert verdicts(again) == verdicts(found)
    assert len(name_server.asked) == asked


def test_another_configuration_has_no_answers(db, name_server, configure):
    report.check(LIVE)
    assert report.stored(with_sets(replace(SET, sender_address="x@example.org"))) is None
    configure(DKIM_SELECTORS={"example.com": ["other"]})
    assert report.stored(LIVE) is None


@pytest.mark.parametrize(
    "backend", [down_cache.SETTING, {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}]
)
def test_without_a_cache(db, name_server, settings, backend):
    settings.CACHES = {"default": backend}
    assert report.check(LIVE).domains[0].verdict is Verdict.GOOD
    assert report.stored(LIVE) is None


def test_without_threads(db, name_server, monkeypatch):
    class NoThreads:
        def __init__(self, *_):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(report, "ThreadPoolExecutor", NoThreads)
    assert report.check(LIVE).domains[0].verdict is Verdict.GOOD


def test_senders_are_told_apart(db):
    assert len({Sender("a", "b", "c", None), Sender("a", "b", "c", None, "d")}) == 2
