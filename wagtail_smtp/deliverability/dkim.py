"""DKIM: the public keys with which receivers verify signatures (RFC 6376)."""

import base64
import binascii
from collections.abc import Iterator, Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.utils.translation import gettext as _

from wagtail_smtp.conf import conf
from wagtail_smtp.deliverability.senders import Sender
from wagtail_smtp.deliverability.verdicts import Finding, Note, Record, Verdict
from wagtail_smtp.transports.name_servers import Lookup

#: Bits of an RSA key: fewer are refused (RFC 8301 3.2), or should be replaced.
_LEAST_BITS, _GOOD_BITS = 1024, 2048


def check(lookup: Lookup, domain: str, senders: Sequence[Sender]) -> Finding:
    """Check the keys of a From domain, for each of its senders.

    Raises:
        LookupFailed: a key could not be looked up.
    """
    finding = Finding("DKIM")
    for sender in senders:
        _check_sender(lookup, finding, domain, sender)
    finding.found = tuple(dict.fromkeys(finding.found))
    finding.notes = list(dict.fromkeys(finding.notes))
    finding.proposals = list(dict.fromkeys(finding.proposals))
    return finding


def _check_sender(lookup: Lookup, finding: Finding, domain: str, sender: Sender) -> None:
    names = {f"{each}._domainkey.{domain}": target for each, target in _selectors(domain, sender)}
    if not names:
        text = _(
            "No DKIM selector is known for %(sender)s, so its key can't be looked up. Check there "
            "that email of %(domain)s is signed. A developer can name the selector in "
            "WAGTAIL_SMTP['DKIM_SELECTORS']."
        )
        values = {"sender": sender.label, "domain": domain}
        finding.add(Verdict.UNKNOWN, text % values)
        return
    judged = []
    for name in names:
        for record in _keys(lookup, name):
            finding.found += (f"{name}: {record}",)
            judged.append(_judge(name, record))
    if not judged:
        _missing(finding, sender, names)
    # While keys are replaced, old ones may already be revoked.
    good = [note for note in judged if note.verdict is Verdict.GOOD]
    finding.notes += good or judged


def _selectors(domain: str, sender: Sender) -> Iterator[tuple[str, str]]:
    """Yield the sender's selectors, each with the target of its CNAME record if it is known."""
    if configured := conf.DKIM_SELECTORS.get(domain):
        yield from ((selector, "") for selector in configured)
    elif sender.provider is not None:
        values = {**sender.options, "domain": domain, "dashed": domain.replace(".", "-")}
        for selector, target in sender.provider.selectors.items():
            try:
                yield selector.format(**values), target.format(**values)
            except KeyError:
                continue  # the set doesn't have the option


def _keys(lookup: Lookup, name: str) -> list[str]:
    found = lookup.records(name, "TXT")
    return [text for text in found if "p" in _tags(text)]


def _tags(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {tag.strip().lower(): "".join(value.split()) for tag, _equals, value in pairs}


def _missing(finding: Finding, sender: Sender, names: dict[str, str]) -> None:
    text = _(
        "No DKIM key was found at %(names)s. Enable DKIM in %(sender)s and publish the record it "
        "gives you, unless you use another selector."
    )
    finding.add(Verdict.IMPROVE, text % {"sender": sender.label, "names": ", ".join(names)})
    for name, target in names.items():
        if target:
            finding.proposals.append(Record("CNAME", name, target))


def _judge(name: str, record: str) -> Note:
    tags = _tags(record)
    if not tags["p"]:
        return Note(Verdict.BAD, _("The key at %s is revoked.") % name)
    bits = _bits(tags)
    if bits is None:
        return Note(Verdict.BAD, _("The key at %s can't be read.") % name)
    if bits and bits < _LEAST_BITS:
        text = _("The key at %(name)s has only %(bits)d bits, so receivers ignore it.")
        return Note(Verdict.BAD, text % {"name": name, "bits": bits})
    if bits and bits < _GOOD_BITS:
        text = _("The key at %(name)s has only %(bits)d bits. Use one with 2048 bits.")
        return Note(Verdict.IMPROVE, text % {"name": name, "bits": bits})
    if "y" in tags.get("t", "").split(":"):
        text = _("The key at %s is marked as a test (“t=y”). Remove the mark.")
        return Note(Verdict.IMPROVE, text % name)
    return Note(Verdict.GOOD, _("There is a valid key at %s.") % name)


def _bits(tags: dict[str, str]) -> int | None:
    """Return the length of an RSA key, 0 for a valid key of another kind, None if it is broken."""
    try:
        data = base64.b64decode(tags["p"], validate=True)
        if tags.get("k", "rsa").lower() == "ed25519":
            return 0 if len(data) == 32 else None
        key = load_der_public_key(data)
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return None
    return key.key_size if isinstance(key, RSAPublicKey) else None
