"""DMARC: what receivers do with email that neither SPF nor DKIM authenticates (RFC 7489)."""

import re
from collections.abc import Sequence

from django.utils.translation import gettext as _

from wagtail_smtp.deliverability.providers import Provider
from wagtail_smtp.deliverability.senders import Sender, organisational_domain
from wagtail_smtp.deliverability.verdicts import Finding, Record, Verdict
from wagtail_smtp.transports.name_servers import Lookup

_POLICIES = ("none", "quarantine", "reject")


def check(lookup: Lookup, domain: str, senders: Sequence[Sender], dkim: Finding | None) -> Finding:
    """Check the policy of a From domain, and whether its senders meet it.

    Args:
        dkim: what was found about the domain's keys; None: they could not be looked up.

    Raises:
        LookupFailed: the policy could not be looked up.
    """
    owner = domain
    found = _records(lookup, domain)
    if not found and (parent := organisational_domain(domain)) != domain:
        owner, found = parent, _records(lookup, parent)
    finding = Finding("DMARC", found=tuple(found))
    if len(found) != 1:
        _without_policy(finding, domain, owner)
        return finding
    tags = _tags(found[0])
    _judge_policy(finding, tags, owner, is_parent=owner != domain)
    for sender in senders:
        _judge_alignment(finding, tags, domain, sender, dkim)
    return finding


def check_mailbox_domain(domain: str, owner: Provider, senders: Sequence[Sender]) -> Finding:
    """Check that a domain of a mailbox provider is only used through that provider."""
    finding = Finding("DMARC")
    for sender in senders:
        values = {"domain": domain, "owner": owner.name, "sender": sender.label}
        if sender.provider == owner:
            text = _("%(domain)s belongs to %(owner)s, which takes care of its DNS.")
            finding.add(Verdict.GOOD, text % values)
        else:
            text = _(
                "%(domain)s belongs to %(owner)s, so %(sender)s can't send for it. Use a sender "
                "address with a domain of your own."
            )
            finding.add(Verdict.BAD, text % values)
    return finding


def _records(lookup: Lookup, domain: str) -> list[str]:
    texts = lookup.records(f"_dmarc.{domain}", "TXT")
    return [text for text in texts if re.match(r"v\s*=\s*DMARC1\s*(;|$)", text)]


def _tags(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {tag.strip().lower(): value.strip() for tag, _equals, value in pairs}


def _without_policy(finding: Finding, domain: str, owner: str) -> None:
    if finding.found:
        text = _("There are several DMARC records, so receivers ignore all of them. Keep one.")
        finding.add(Verdict.BAD, text)
        return
    text = _(
        "%s has no DMARC record. Large mailbox providers require one from bulk senders. Start "
        "with a policy that only asks for reports."
    )
    finding.add(Verdict.IMPROVE, text % domain)
    value = f"v=DMARC1; p=none; rua=mailto:postmaster@{owner}"
    finding.proposals.append(Record("TXT", f"_dmarc.{owner}", value))


def _judge_policy(finding: Finding, tags: dict[str, str], owner: str, *, is_parent: bool) -> None:
    policy = (tags.get("sp") if is_parent else None) or tags.get("p", "")
    policy = policy.lower()
    if policy not in _POLICIES:
        text = _("The policy “%s” is not valid, so receivers ignore the record.")
        finding.add(Verdict.BAD, text % policy[:40])
    elif policy == "none":
        text = _(
            "The policy is “none”: receivers only report. When the reports show no email of yours "
            "that fails, change it to “quarantine”."
        )
        finding.add(Verdict.IMPROVE, text)
        tag = "sp" if is_parent and tags.get("sp") else "p"
        value = re.sub(rf"(;\s*{tag}\s*=\s*)none", r"\1quarantine", finding.found[0], flags=re.I)
        finding.proposals.append(Record("TXT", f"_dmarc.{owner}", value))
    elif tags.get("pct", "100") != "100" or tags.get("t") == "y":
        finding.add(Verdict.IMPROVE, _("The policy “%s” doesn't apply to all email yet.") % policy)
    else:
        finding.add(Verdict.GOOD, _("The policy is “%s”.") % policy)
    if not tags.get("rua"):
        text = _("It asks for no reports. With “rua=mailto:…” you see who sends for this domain.")
        finding.add(Verdict.IMPROVE, text)


def _judge_alignment(
    finding: Finding, tags: dict[str, str], domain: str, sender: Sender, dkim: Finding | None
) -> None:
    if _is_aligned(domain, sender.envelope_domain, tags.get("aspf", "r")):
        return  # SPF is enough
    verdict = Verdict.UNKNOWN if dkim is None else dkim.verdict
    if dkim is not None and verdict is Verdict.GOOD:
        text = _("For %s, DMARC relies on DKIM alone.")
    elif verdict is Verdict.UNKNOWN:
        text = _("For %s, DMARC relies on DKIM alone, which could not be checked.")
    else:
        text = _("For %s, DMARC relies on DKIM alone, so email may be rejected until DKIM works.")
        verdict = Verdict.IMPROVE
    finding.add(verdict, text % sender.label)


def _is_aligned(domain: str, other: str, mode: str) -> bool:
    if domain == other or mode.lower() == "s" or not other:
        return domain == other
    return organisational_domain(domain) == organisational_domain(other)
