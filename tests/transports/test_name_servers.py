"""Looking up records from servers that are right, wrong or hostile, always in time."""

import time

import pytest

from tests.support.servers import dns_server
from tests.support.servers.dns_server import DNSServer, only_over_udp_truncated, txt
from wagtail_smtp.transports import name_servers
from wagtail_smtp.transports.name_servers import Lookup, LookupFailed

# Of texts and name servers alone, whatever the versions of Django and Wagtail.
pytestmark = pytest.mark.same_on_all_versions

ZONE = {
    "example.com": {
        "TXT": txt("v=spf1 -all", "x" * 600),
        "MX": ["10 mail.example.com.", "5 backup.example.com."],
        "A": ["198.51.100.7"],
        "AAAA": ["2001:db8::7"],
    },
    "alias.example.com": {"CNAME": ["example.com."]},
    "dangling.example.com": {"CNAME": ["nowhere.example.com."]},
    "loop.example.com": {"CNAME": ["pool.example.com."]},
    "pool.example.com": {"CNAME": ["loop.example.com."]},
    "long.example.com": {"TXT": txt(*(f"{number} {'x' * 200}" for number in range(20)))},
    "big.example.com": {"TXT": txt(*(f"{number} {'x' * 200}" for number in range(90)))},
    "many.example.com": {"A": [f"198.51.100.{number}" for number in range(101)]},
}


@pytest.fixture
def server(configure):
    with DNSServer(ZONE) as server:
        configure(DNS_SERVERS=[server.address])
        yield server


def test_records_as_text(server):
    lookup = Lookup()
    assert lookup.records("Example.com.", "TXT") == ("v=spf1 -all", "x" * 600)
    assert lookup.records("example.com", "MX") == (
        "10 mail.example.com.",
        "5 backup.example.com.",
    )
    assert lookup.addresses("example.com") == ("198.51.100.7", "2001:db8::7")
    assert lookup.records("alias.example.com", "A") == ("198.51.100.7",)


def test_there_are_none(server):
    lookup = Lookup()
    assert lookup.records("example.com", "PTR") == ()
    assert lookup.records("nowhere.example.com", "TXT") == ()
    assert lookup.records("alias.example.com", "PTR") == ()
    assert lookup.records("dangling.example.com", "TXT") == ()


def test_each_question_is_asked_once(server):
    lookup = Lookup()
    for _ in range(3):
        lookup.records("example.com", "A")
        with pytest.raises(LookupFailed):
            lookup.records("loop.example.com", "A")
    asked = [(name, kind) for name, kind, _protocol in server.asked]
    assert asked == [("example.com", "A"), ("loop.example.com", "A")]


def test_long_answers_come_by_tcp(server):
    assert len(Lookup().records("long.example.com", "TXT")) == 20
    assert [protocol for *_, protocol in server.asked] == ["udp", "tcp"]


@pytest.mark.parametrize("name", ["loop", "big", "many"])
def test_loops_and_answers_that_are_too_large(server, name):
    with pytest.raises(LookupFailed):
        Lookup().records(f"{name}.example.com", "A" if name == "many" else "TXT")


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64 + ".example", "." * 300])
def test_names_that_are_no_names(server, name):
    with pytest.raises(LookupFailed):
        Lookup().records(f"{name}.example.com", "TXT")


FAULTS = [
    dns_server.silent,
    dns_server.wrong_id,
    dns_server.other_question,
    dns_server.other_name,
    dns_server.failing,
    dns_server.garbage,
    dns_server.truncated,
    dns_server.flood,
]
BY_TCP = [*FAULTS[:6], dns_server.flood, dns_server.drip]


@pytest.mark.parametrize(
    "fault",
    [*FAULTS, *map(only_over_udp_truncated, BY_TCP)],
    ids=[*(each.__name__ for each in FAULTS), *(f"tcp-{each.__name__}" for each in BY_TCP)],
)
def test_whatever_a_server_does_it_ends_in_time(server, fault):
    server.faults["example.com"] = fault
    began = time.monotonic()
    with pytest.raises(LookupFailed):
        Lookup().records("example.com", "TXT")
    assert time.monotonic() - began < 3
    assert Lookup().records("alias.example.com", "MX")


@pytest.mark.parametrize("name", ["example.com", "nowhere.example.com"])
def test_records_of_another_type_are_no_answer(server, name):
    server.faults[name] = dns_server.flood
    with pytest.raises(LookupFailed):
        Lookup().records(name, "A")


def test_all_together_have_a_limit(server, monkeypatch):
    monkeypatch.setattr(name_servers, "TIME_LIMIT", 0.5)
    server.faults["*"] = dns_server.silent
    lookup, began = Lookup(), time.monotonic()
    for number in range(50):
        with pytest.raises(LookupFailed):
            lookup.records(f"{number}.example.com", "A")
    assert time.monotonic() - began < 2
    assert len(server.asked) < 5


def test_queries_are_counted(server, monkeypatch):
    monkeypatch.setattr(name_servers, "MOST_QUERIES", 3)
    lookup = Lookup()
    for number in range(3):
        assert lookup.records(f"{number}.example.com", "A") == ()
    with pytest.raises(LookupFailed):
        lookup.records("example.com", "A")
    assert len(server.asked) == 3


def test_without_name_servers(configure):
    configure(DNS_SERVERS=[])
    with pytest.raises(LookupFailed):
        Lookup().records("example.com", "A")


def test_earlier_answers_ask_nobody(server):
    lookup = Lookup({("example.com", "A"): ("198.51.100.1",), ("example.com", "MX"): None})
    assert lookup.records("example.com", "A") == ("198.51.100.1",)
    for kind in ("MX", "TXT"):
        with pytest.raises(LookupFailed):
            lookup.records("example.com", kind)
    assert server.asked == []


def test_another_server_is_asked_if_one_fails(server, configure):
    with DNSServer() as broken:
        broken.faults["*"] = dns_server.failing
        configure(DNS_SERVERS=[broken.address, server.address])
        assert Lookup().records("example.com", "A") == ("198.51.100.7",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (["192.0.2.1"], (("192.0.2.1", 53),)),
        (["192.0.2.1:5353", "2001:db8::1"], (("192.0.2.1", 5353), ("2001:db8::1", 53))),
        (["[2001:db8::1]:5353"], (("2001:db8::1", 5353),)),
    ],
)
def test_the_setting(configure, value, expected):
    configure(DNS_SERVERS=value)
    servers = name_servers.conf.DNS_SERVERS
    assert servers == expected


@pytest.mark.parametrize("value", ["192.0.2.1", ["dns.example.com"], ["192.0.2.1:x"], [53]])
def test_a_wrong_setting(configure, value):
    configure(DNS_SERVERS=value)
    with pytest.raises(Exception, match="DNS_SERVERS"):
        _ = name_servers.conf.DNS_SERVERS
