"""Addresses, hosts, references, secrets, versions and texts: whatever they are given."""

import ipaddress
import json
import re
from dataclasses import asdict
from email.utils import getaddresses, parseaddr
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.cases import addresses, budget, each, junk, mutated, several, texts
from wagtail_smtp.admin.log.export import neutral as neutral_cell
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.channels.plain_text import neutral as neutral_text
from wagtail_smtp.config import crypto, validation, values
from wagtail_smtp.config.references import Reference
from wagtail_smtp.config.values import (
    Configuration,
    ReportEmail,
    SettingsSetConfig,
    SiteSender,
)
from wagtail_smtp.delivery.routing import redirect_for, route
from wagtail_smtp.exceptions import (
    RedirectError,
    ReferenceUnreadable,
    SecretBoundElsewhere,
    SecretUnreadable,
)
from wagtail_smtp.transports import guard

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@budget(2)
@given(several(addresses()))
def test_addresses(cases):
    """What is an address can be written into a command and into a header, and stays the same."""
    for text in each("addresses", cases):
        if not validation.is_email_address(text):
            continue
        assert not CONTROL.search(text)
        assert parseaddr(text)[1] == text
        encoded = validation.ascii_address(text)
        assert encoded.isascii()
        assert validation.ascii_address(encoded) == encoded
        assert validation.is_email_address(encoded)
        written = validation.mailbox("Doe, Ann", encoded)
        assert getaddresses([written]) == [("Doe, Ann", encoded)]


@budget(2)
@given(several(st.one_of(texts("faß", "xn--fa-hia", "example"), addresses())))
def test_hosts(cases):
    """A host name is ASCII, stays the same when it is encoded again, or is refused."""
    for text in each("host names", cases):
        assert validation.is_ehlo_name(text) in (True, False)
        if validation.is_ehlo_name(text):
            assert not CONTROL.search(text)
            assert not re.search(r"\s", text)
        validation.unicode_host(text)
        once = validation.with_current_domains(text)
        assert validation.with_current_domains(once) == once
        try:
            encoded = validation.ascii_host(text)
        except ValueError:
            assert not validation.is_host(text)
            continue
        assert encoded.isascii()
        assert validation.ascii_host(encoded) == encoded


def _in_disguise(inner: int, form: str, rest: int) -> str:
    """An IPv4 address in one of the ways in which IPv6 contains it."""
    wide = {
        "mapped": (0xFFFF << 32) | inner,
        "compatible": inner,
        "translated": (0xFFFF << 48) | inner,
        "nat64": (0x64FF9B << 96) | inner,
        "6to4": (0x2002 << 112) | (inner << 80) | rest,
        "isatap": (0x2001_0DB8 << 96) | (0x5EFE << 32) | inner,
    }
    return str(ipaddress.IPv6Address(wide[form]) if form in wide else ipaddress.IPv4Address(inner))


FORMS = ("plain", "mapped", "compatible", "translated", "nat64", "6to4", "isatap")
METADATA = st.one_of(
    st.sampled_from(("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192")).map(
        lambda text: int(ipaddress.IPv4Address(text))
    ),
    st.integers(
        int(ipaddress.IPv4Address("169.254.0.0")), int(ipaddress.IPv4Address("169.254.255.255"))
    ),
)
PORTS = st.sampled_from((1, 22, 25, 80, 443, 465, 587, 2525, 8080, 65535))


@budget()
@given(several(st.tuples(METADATA, st.sampled_from(FORMS), st.integers(0, 2**48), PORTS)))
def test_metadata_services(cases):
    """They are never connected to, in whatever form their address is written."""
    for inner, form, rest, port in each("metadata addresses", cases):
        address = _in_disguise(inner, form, rest)
        assert not guard.is_allowed(address, port), address
        assert not guard.is_allowed(address, port, any_port=True), address


@budget()
@given(several(st.tuples(st.ip_addresses(), PORTS)))
def test_internal_addresses(cases):
    """They are connected to on mail ports only."""
    for ip, port in each("IP addresses", cases):
        allowed = guard.is_allowed(str(ip), port)
        # As the tests' settings allow, also written as an IPv6 address.
        is_own = (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
        if ip.is_private and not is_own and port not in guard.MAIL_PORTS:
            assert not allowed, ip
        if ip.is_multicast or ip.is_link_local or ip.is_unspecified:
            assert not allowed, ip


@budget()
@given(
    several(
        st.builds(
            "{}{}".format,
            st.sampled_from(("env:", "file:", "ENV:", "env", "", "vault:", "file:/run/secrets/")),
            texts("SMTP_A", "SMTP_", "DATABASE_URL", "/etc/passwd", "/run/secrets/../x", "/"),
        )
    )
)
def test_references(cases):
    """Only what the project allows is read, and an error never has a value in it."""
    for text in each("references", cases):
        try:
            reference = Reference.of(text)
        except ValueError:
            continue
        assert str(reference) == text
        if not reference.refusal():
            assert reference.source == "env"  # no directory is allowed
            assert fnmatchcase(reference.name, "SMTP_*")
        with pytest.raises(ReferenceUnreadable):
            reference.resolve()


BINDINGS = st.dictionaries(texts(most=1), texts(most=2), max_size=3)


def _is_storable(*parts: object) -> bool:
    return "\\ud" not in json.dumps(parts)


@budget(0.5)
@given(several(st.tuples(texts(), BINDINGS, BINDINGS, st.integers(0, 10**6))))
def test_secrets(cases):
    """A secret opens for its destination only, and not at all once a byte is changed."""
    for value, binding, other, position in each("secrets", cases):
        token = crypto.encrypt(value, binding)
        assert crypto.decrypt(token, binding) == value
        if other != binding:
            with pytest.raises(SecretBoundElsewhere):
                crypto.decrypt(token, other)
        at = position % (len(token) - 4)
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(SecretUnreadable):
            crypto.decrypt(changed, binding)


SITE = st.integers(1, 3)
SETS = st.builds(
    SettingsSetConfig,
    key=st.uuids().map(str),
    name=texts(most=2),
    transport=st.sampled_from(("smtp", "postmark", "mailgun")),
    host=texts(most=2),
    port=st.integers(-1, 70000),
    redirect=st.booleans(),
    backup=st.booleans(),
    report_emails=st.lists(st.builds(ReportEmail, addresses(), st.booleans()), max_size=2).map(
        tuple
    ),
    categories=st.lists(st.sampled_from(BUILT_IN), max_size=2).map(tuple),
    sites=st.lists(SITE, max_size=2).map(tuple),
    site_senders=st.lists(st.builds(SiteSender, SITE, texts(most=1), addresses()), max_size=1).map(
        tuple
    ),
    provider=st.dictionaries(texts(most=1), texts(most=1), max_size=1),
)
CONFIGURATIONS = st.builds(
    Configuration, st.sampled_from(("custom", "standard")), st.lists(SETS, max_size=3).map(tuple)
)


@budget(0.3)
@given(several(st.tuples(CONFIGURATIONS, st.sampled_from(BUILT_IN), SITE)))
def test_versions(cases):
    """A version is read as it was written, and a redirect in it is never passed by."""
    for configuration, category, site in each("versions", cases):
        written = json.dumps(configuration.to_json())
        again = values.from_json(json.loads(written))
        assert again == configuration
        assert again.digest() == configuration.digest()
        for item in configuration.sets:
            validation.problems(item)
        decider = configuration.redirecting_set(category, site)
        try:
            redirect = redirect_for(configuration, category, site)
        except RedirectError:
            assert decider is not None
            with pytest.raises(RedirectError):
                route(configuration, category, site=site)
            continue
        assert (redirect is None) == (decider is None)
        assert route(configuration, category, site=site).redirect == redirect
        if redirect is not None:
            assert redirect.addresses
            assert len(redirect.addresses) <= len(decider.report_addresses)
            assert all(map(validation.is_email_address, redirect.addresses))


VERSION = json.loads(
    json.dumps(
        Configuration(
            "custom",
            (
                SettingsSetConfig("k", "Main", report_emails=(ReportEmail("qa@example.com"),)),
                SettingsSetConfig("l", "Test", redirect=True, categories=("form",)),
            ),
        ).to_json()
    )
)


@budget()
@given(several(mutated(VERSION, junk())))
def test_damaged_versions(cases):
    """A version is refused if anything in it is unknown; nothing is ever left out."""
    for content in each("damaged versions", cases):
        try:
            configuration = values.from_json(content)
        except ValueError:
            continue
        same = json.loads(json.dumps(asdict(configuration), default=list))
        assert json.dumps(same, sort_keys=True) == json.dumps(content, sort_keys=True)


COMMANDS = re.compile(r"@(everyone|here|channel)|<[!@#/a-z]|\]\(|\*\*|```", re.IGNORECASE)


@budget()
@given(
    several(
        st.tuples(
            texts("@everyone", "<!here>", "](http://x)", "**", "_a_", "#"), st.integers(1, 80)
        )
    )
)
def test_texts_for_chats(cases):
    """Nobody is called, nothing is hidden, and the length is bounded."""
    for text, limit in each("texts for chats", cases):
        neutral = neutral_text(text, limit)
        assert not COMMANDS.search(neutral), neutral
        assert "\u202e" not in neutral
        assert len(neutral) <= 2 * limit + 1
        neutral.encode()


SEPARATORS = re.compile(r"[;,\t|\r\n]")


@budget()
@given(several(texts("=cmd|' /C calc'!A0", ";=1", '"=1', "\t=1", " -1", "＋1")))
def test_cells_of_a_spreadsheet(cases):
    """No part of a cell begins as a formula, wherever a spreadsheet separates cells."""
    for text in each("spreadsheet cells", cases):
        for part in SEPARATORS.split(neutral_cell(text)):
            start = part.lstrip(' \ufeff\u200b\u2060\u00a0\u2028\x85\x0b\x0c\x1c\x1d\x1e\x1f"')[:1]
            assert start not in tuple("=+-@＝＋－＠"), (text, part)
