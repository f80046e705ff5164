"""What is said about SPF, DKIM, DMARC, MX and PTR records, right and wrong ones."""

from pathlib import Path

import pytest

from tests.deliverability.conftest import own_sender, sender_through
from tests.deliverability.keys import KEYS
from tests.deliverability.zones import KEY, ZONE, zone_with
from tests.support.servers import dns_server
from tests.support.servers.dns_server import txt
from wagtail_smtp.deliverability import dkim, dmarc, hosts, spf
from wagtail_smtp.deliverability.providers import PROVIDERS, owner_of, provider_of
from wagtail_smtp.deliverability.senders import organisational_domain
from wagtail_smtp.deliverability.verdicts import Finding, Record, Verdict
from wagtail_smtp.transports.esp import catalog
from wagtail_smtp.transports.name_servers import Lookup, LookupFailed
from wagtail_smtp.transports.smtp.presets import PRESETS

# Of texts and name servers alone, whatever the versions of Django and Wagtail.
pytestmark = pytest.mark.same_on_all_versions

ROOT = Path(__file__).resolve().parents[2]
GOOD, UNKNOWN, IMPROVE, BAD = Verdict.GOOD, Verdict.UNKNOWN, Verdict.IMPROVE, Verdict.BAD
GOOGLE, OWN = sender_through("google"), own_sender()


def check_spf(*senders):
    return spf.check(Lookup(), "example.com", senders or [GOOGLE])


# SPF


def chain(number):
    """An SPF record that includes another, and so on."""
    zone = {
        f"{i}.example.org": {"TXT": txt(f"v=spf1 include:{i + 1}.example.org ~all")}
        for i in range(number - 1)
    }
    return zone | {f"{number - 1}.example.org": {"TXT": txt("v=spf1 ip4:8.8.4.4 ~all")}}


@pytest.mark.parametrize(
    ("records", "sender", "verdict", "proposal"),
    [
        (["v=spf1 include:_spf.google.com ~all"], GOOGLE, GOOD, ""),
        (["v=spf1 INCLUDE:_SPF.google.com. -all"], GOOGLE, GOOD, ""),
        (["v=spf1 redirect=_spf.google.com"], GOOGLE, GOOD, ""),
        ([], GOOGLE, BAD, "v=spf1 include:_spf.google.com ~all"),
        (["v=spf10 +all"], GOOGLE, BAD, "v=spf1 include:_spf.google.com ~all"),
        (["v=spf1 -all"], GOOGLE, BAD, "v=spf1 include:_spf.google.com -all"),
        (["v=spf1 mx a ~all"], GOOGLE, BAD, "v=spf1 include:_spf.google.com mx a ~all"),
        (["v=spf1 +all"], GOOGLE, BAD, "v=spf1 include:_spf.google.com ~all"),
        (
            ["v=spf1 include:_spf.google.com +all"],
            GOOGLE,
            BAD,
            "v=spf1 include:_spf.google.com ~all",
        ),
        (
            ["v=spf1 include:_spf.google.com"],
            GOOGLE,
            IMPROVE,
            "v=spf1 include:_spf.google.com ~all",
        ),
        (
            ["v=spf1 ip4:8.8.4.4 ~all", "v=spf1 include:_spf.google.com -all"],
            GOOGLE,
            BAD,
            "v=spf1 include:_spf.google.com ip4:8.8.4.4 ~all",
        ),
        (["v=spf1 include:_spf.google.com ptr ~all"], GOOGLE, IMPROVE, ""),
        (
            ["v=spf1 ip4:35.190.247.0/24 ~all"],
            GOOGLE,
            IMPROVE,
            "v=spf1 include:_spf.google.com ip4:35.190.247.0/24 ~all",
        ),
        (["v=spf1 include:nowhere.example.org ~all"], GOOGLE, BAD, ""),
        (["v=spf1 ipv4:1.2.3.4 ~all"], GOOGLE, BAD, ""),
        (["v=spf1 ip4:1.2.3.400 ~all"], GOOGLE, BAD, ""),
        # One more would exceed the limit of lookups.
        (["v=spf1 include:0.example.org ~all"], GOOGLE, BAD, ""),
        (
            ["v=spf1 exists:%{i}._spf.example.org ~all"],
            GOOGLE,
            UNKNOWN,
            "v=spf1 include:_spf.google.com exists:%{i}._spf.example.org ~all",
        ),
        (["v=spf1 ip4:8.8.4.4 ~all"], OWN, GOOD, ""),
        (["v=spf1 ip4:8.8.0.0/16 ~all"], OWN, GOOD, ""),
        (["v=spf1 a:mail.example.com -all"], OWN, GOOD, ""),
        (["v=spf1 a:mail.example.com/24//64 -all"], OWN, GOOD, ""),
        (["v=spf1 a:mail.example.com//64 -all"], OWN, GOOD, ""),
        (["v=spf1 a/8 -all"], OWN, IMPROVE, "v=spf1 ip4:8.8.4.4 a/8 -all"),
        (["v=spf1 -ip4:8.8.4.4 ~all"], OWN, IMPROVE, "v=spf1 ip4:8.8.4.4 -ip4:8.8.4.4 ~all"),
        ([], OWN, BAD, "v=spf1 ip4:8.8.4.4 ~all"),
        ([], own_sender("localhost"), BAD, ""),
        (["v=spf1 mx ~all"], own_sender("localhost"), UNKNOWN, ""),
        (["v=spf1 mx ~all"], own_sender("10.0.0.1"), UNKNOWN, ""),
        ([], sender_through("postmark", envelope=""), GOOD, ""),
        (["v=spf1 ip4:8.8.4.4 ~all"], sender_through("postmark", envelope=""), GOOD, ""),
        ([], own_sender(envelope="bounce.example.org"), GOOD, ""),
        (["v=spf1 a ~all"], sender_through("yahoo"), UNKNOWN, ""),
    ],
)
def test_spf(name_server, records, sender, verdict, proposal):
    name_server.zone = zone_with(spf=records) | chain(10)
    finding = check_spf(sender)
    assert (finding.verdict, [each.value for each in finding.proposals]) == (
        verdict,
        [proposal] if proposal else [],
    ), finding.notes


@pytest.mark.parametrize(("number", "verdict"), [(10, GOOD), (11, BAD)])
def test_the_limit_of_lookups(name_server, number, verdict):
    name_server.zone = zone_with(spf=["v=spf1 include:0.example.org ~all"]) | chain(number)
    assert check_spf(OWN).verdict is verdict


def test_a_record_that_includes_itself(name_server):
    name_server.zone = zone_with(spf=["v=spf1 include:example.com ~all"])
    assert check_spf().verdict is BAD
    assert len(name_server.asked) < 5


@pytest.mark.parametrize(("number", "verdict"), [(2, GOOD), (3, BAD)])
def test_the_limit_of_names_without_addresses(name_server, number, verdict):
    names = " ".join(f"a:void{i}.example.com" for i in range(number))
    name_server.zone = zone_with(spf=[f"v=spf1 include:_spf.google.com {names} ~all"])
    assert check_spf().verdict is verdict


def test_part_of_a_record_that_can_not_be_looked_up(name_server):
    name_server.zone = zone_with(spf=["v=spf1 include:broken.example.org ~all"])
    name_server.faults["broken.example.org"] = dns_server.failing
    assert check_spf().verdict is UNKNOWN
    name_server.zone = zone_with(spf=["v=spf1 include:broken.example.org ip4:8.8.4.4 ~all"])
    assert check_spf(OWN).verdict is GOOD
    assert check_spf(own_sender("9.9.9.9")).verdict is UNKNOWN


def test_several_senders_of_a_domain(name_server):
    name_server.zone = zone_with(spf=["v=spf1 include:_spf.google.com ~all"])
    finding = check_spf(GOOGLE, sender_through("microsoft"), OWN)
    [record] = finding.proposals
    assert record == Record(
        "TXT",
        "example.com",
        "v=spf1 include:spf.protection.outlook.com ip4:8.8.4.4 include:_spf.google.com ~all",
    )


def test_a_proposal_says_what_it_lacks(name_server):
    name_server.zone = zone_with(spf=["v=spf1 +all"])
    finding = check_spf(GOOGLE, own_sender("localhost"))
    assert [each.value for each in finding.proposals] == ["v=spf1 include:_spf.google.com ~all"]
    assert "doesn't contain localhost yet" in finding.notes[-1].text


def test_a_proposal_is_good_itself(name_server):
    senders = [GOOGLE, sender_through("microsoft"), OWN]
    for records in ([], ["v=spf1 +all"], ["v=spf1 a", "v=spf1 mx -all"]):
        name_server.zone = zone_with(spf=records)
        [record] = check_spf(*senders).proposals
        name_server.zone = zone_with(spf=[record.value])
        assert check_spf(*senders).verdict is GOOD


# DKIM

WEAK, SHORT = (f"v=DKIM1; p={KEYS[bits]}" for bits in (512, 1024))


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ([KEY], GOOD),
        ([f"k=rsa;p= {KEYS[2048][:50]} {KEYS[2048][50:]} ;"], GOOD),
        (["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], GOOD),
        ([KEY + "; t=y:s"], IMPROVE),
        ([SHORT], IMPROVE),
        ([WEAK], BAD),
        (["v=DKIM1; p="], BAD),
        (["v=DKIM1; p=nonsense"], BAD),
        (["v=DKIM1; p=????"], BAD),
        (["v=DKIM1; k=ed25519; p=AAAA"], BAD),
        ([], IMPROVE),
        (["google-site-verification"], IMPROVE),
    ],
)
def test_dkim(name_server, records, verdict):
    name_server.zone = zone_with(dkim=records)
    finding = dkim.check(Lookup(), "example.com", [GOOGLE])
    assert finding.verdict is verdict, finding.notes


def test_a_good_key_beside_a_revoked_one(name_server):
    names = [f"selector{i}._domainkey.example.com" for i in (1, 2)]
    name_server.zone = ZONE | {names[0]: {"TXT": txt("v=DKIM1; p=")}, names[1]: {"TXT": txt(KEY)}}
    finding = dkim.check(Lookup(), "example.com", [sender_through("microsoft")])
    assert finding.verdict is GOOD
    assert len(finding.found) == 2


def test_selectors_are_never_guessed(name_server, configure):
    for sender in (sender_through("postmark"), OWN):
        assert dkim.check(Lookup(), "example.com", [sender]).verdict is UNKNOWN
    assert name_server.asked == []
    configure(DKIM_SELECTORS={"Example.com": ["google"]})
    assert dkim.check(Lookup(), "example.com", [OWN]).verdict is GOOD


def test_selectors_and_targets_that_follow_from_domain_and_options(name_server):
    sender = sender_through("scaleway", options={"project_id": "1234"})
    dkim.check(Lookup(), "example.com", [sender])
    assert [name for name, *_ in name_server.asked] == ["1234._domainkey.example.com"]
    finding = dkim.check(Lookup(), "www.example.com", [sender_through("brevo")])
    assert finding.proposals[0] == Record(
        "CNAME", "brevo1._domainkey.www.example.com", "b1.www-example-com.dkim.brevo.com"
    )


# DMARC

GOOD_KEYS = Finding("DKIM")
GOOD_KEYS.add(GOOD, "")
NO_KEYS = Finding("DKIM")
NO_KEYS.add(IMPROVE, "")
RUA = "rua=mailto:d@example.com"


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ([f"v=DMARC1; p=reject; {RUA}"], GOOD),
        ([f"v=DMARC1;p=quarantine;{RUA}"], GOOD),
        ([f"v = DMARC1 ; p = Reject ; {RUA} ;"], GOOD),
        ([f"v=DMARC1; p=none; {RUA}"], IMPROVE),
        (["v=DMARC1; p=reject"], IMPROVE),
        ([f"v=DMARC1; p=reject; pct=20; {RUA}"], IMPROVE),
        ([f"v=DMARC1; p=reject; t=y; {RUA}"], IMPROVE),
        ([f"v=DMARC1; p=monitor; {RUA}"], BAD),
        ([f"v=DMARC1; {RUA}"], BAD),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], BAD),
        (["v=DMARC2; p=reject"], IMPROVE),
        ([], IMPROVE),
    ],
)
def test_dmarc(name_server, records, verdict):
    name_server.zone = zone_with(dmarc=records)
    finding = dmarc.check(Lookup(), "example.com", [GOOGLE], GOOD_KEYS)
    assert finding.verdict is verdict, finding.notes


def test_what_to_publish_for_dmarc(name_server):
    name_server.zone = zone_with(dmarc=[])
    [record] = dmarc.check(Lookup(), "www.example.com", [], None).proposals
    value = "v=DMARC1; p=none; rua=mailto:postmaster@example.com"
    assert record == Record("TXT", "_dmarc.example.com", value)
    name_server.zone = zone_with(dmarc=["v=DMARC1; p=none; sp=none"])
    [record] = dmarc.check(Lookup(), "example.com", [], None).proposals
    assert record.value == "v=DMARC1; p=quarantine; sp=none"
    [record] = dmarc.check(Lookup(), "www.example.com", [], None).proposals
    assert record.value == "v=DMARC1; p=none; sp=quarantine"


@pytest.mark.parametrize(
    ("mode", "envelope", "keys", "verdict"),
    [
        ("r", "example.com", None, GOOD),
        ("r", "bounce.example.com", NO_KEYS, GOOD),
        ("s", "bounce.example.com", NO_KEYS, IMPROVE),
        ("s", "example.com", NO_KEYS, GOOD),
        ("r", "example.org", NO_KEYS, IMPROVE),
        ("r", "example.org", GOOD_KEYS, GOOD),
        ("r", "", GOOD_KEYS, GOOD),
        ("r", "", NO_KEYS, IMPROVE),
        ("r", "", None, UNKNOWN),
    ],
)
def test_alignment(name_server, mode, envelope, keys, verdict):
    name_server.zone = zone_with(dmarc=[f"v=DMARC1; p=reject; aspf={mode}; {RUA}"])
    senders = [sender_through("google", envelope=envelope)]
    assert dmarc.check(Lookup(), "example.com", senders, keys).verdict is verdict


def test_domains_of_mailbox_providers():
    owner = owner_of("gmail.com")
    for slug, verdict in (("google", GOOD), ("amazon_ses", BAD)):
        senders = [sender_through(slug, "gmail.com", "gmail.com")]
        assert dmarc.check_mailbox_domain("gmail.com", owner, senders).verdict is verdict


def test_organisational_domains():
    assert organisational_domain("a.b.example.co.uk") == "example.co.uk"
    assert organisational_domain("co.uk") == "co.uk"


# MX and PTR


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ({"MX": ["1 smtp.google.com."]}, GOOD),
        ({"MX": ["1 nowhere.example.com.", "2 smtp.google.com."]}, GOOD),
        ({"MX": ["1 nowhere.example.com."], "A": ["9.9.9.9"]}, BAD),
        ({"MX": ["0 ."]}, IMPROVE),
        ({"A": ["9.9.9.9"]}, IMPROVE),
        ({"TXT": txt("nothing")}, BAD),
    ],
)
def test_mx(name_server, records, verdict):
    name_server.zone = ZONE | {"example.com": records}
    assert hosts.check_mx(Lookup(), "example.com").verdict is verdict


@pytest.mark.parametrize(
    ("names", "verdict"),
    [
        (["mail.example.com."], GOOD),
        (["other.example.com.", "mail.example.com."], GOOD),
        (["smtp.google.com."], IMPROVE),
        (["nowhere.example.com."], IMPROVE),
    ],
)
def test_ptr(name_server, names, verdict):
    name_server.zone = ZONE | {"4.4.8.8.in-addr.arpa": {"PTR": names}}
    assert hosts.check_ptr(Lookup(), OWN).verdict is verdict


def test_ptr_of_addresses_without_a_name_and_unknown_ones(name_server):
    assert hosts.check_ptr(Lookup(), own_sender("9.9.9.9")).verdict is IMPROVE
    assert hosts.check_ptr(Lookup(), own_sender("localhost")).verdict is UNKNOWN
    assert hosts.check_ptr(Lookup(), own_sender("192.168.0.1")).verdict is UNKNOWN
    name_server.faults["4.4.8.8.in-addr.arpa"] = dns_server.failing
    assert hosts.check_ptr(Lookup(), OWN).verdict is UNKNOWN


def test_the_ehlo_name(name_server):
    for name, verdict in (
        ("mail.example.com", GOOD),
        ("[8.8.4.4]", GOOD),
        ("nowhere.example.com", IMPROVE),
    ):
        assert hosts.check_ptr(Lookup(), own_sender(ehlo_name=name)).verdict is verdict


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (lambda: check_spf(), "example.com"),
        (lambda: dkim.check(Lookup(), "example.com", [GOOGLE]), "google._domainkey.example.com"),
        (lambda: dmarc.check(Lookup(), "example.com", [GOOGLE], None), "_dmarc.example.com"),
        (lambda: hosts.check_mx(Lookup(), "example.com"), "example.com"),
    ],
)
def test_what_can_not_be_looked_up_is_never_judged(name_server, run, name):
    name_server.faults[name] = dns_server.failing
    with pytest.raises(LookupFailed):
        run()


# The table of providers


def test_every_provider_is_known():
    ours = {provider.slug for provider in PROVIDERS}
    # Postal is self-hosted; Proton Mail Bridge and a local relay have no address of their own.
    own = {"postal", "proton_bridge", "local_relay"}
    presets = {preset.slug.replace("-", "_") for preset in PRESETS}
    assert ours == ({*catalog.PROVIDERS} | presets) - own


def test_the_documentation_lists_providers_without_known_selectors():
    text = (ROOT / "docs" / "how-to" / "deliverability.md").read_text()
    listed = " ".join(
        text.partition("are never guessed. ")[2].partition(" and your own")[0].split()
    )
    ours = [each.name for each in PROVIDERS if not each.selectors and each.slug != "yahoo"]
    assert sorted(listed.split(", ")) == sorted(ours)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.slug)
def test_every_preset_leads_to_its_provider(preset):
    from wagtail_smtp.config.values import SettingsSetConfig

    found = provider_of(SettingsSetConfig("", "", host=preset.host), preset.host)
    slug = preset.slug.replace("-", "_")
    assert (found and found.slug) == (None if slug in ("proton_bridge", "local_relay") else slug)
