"""Check the domains of the live configuration, and remember the answers for an hour."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.utils import timezone
from django.utils.translation import gettext as _

from wagtail_smtp import __version__
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration
from wagtail_smtp.deliverability import dkim, dmarc, hosts, spf
from wagtail_smtp.deliverability.providers import owner_of
from wagtail_smtp.deliverability.senders import Sender, senders
from wagtail_smtp.deliverability.verdicts import Finding, Verdict, worst
from wagtail_smtp.runtime import error_logging
from wagtail_smtp.transports.name_servers import Answers, Lookup, LookupFailed

logger = logging.getLogger(__name__)

#: Seconds for which answers are cached.
CACHED = 3600
#: How many domains are checked.
MOST_DOMAINS = 10
_THREADS = 8


@dataclass(frozen=True, slots=True)
class DomainReport:
    """What was found about one domain.

    Attributes:
        senders: what sends with an address of it.
    """

    domain: str
    senders: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict on the domain."""
        return worst(finding.verdict for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line for people."""
        texts = {
            Verdict.GOOD: _("%s is set up well."),
            Verdict.UNKNOWN: _("%s: not everything could be checked."),
            Verdict.IMPROVE: _("%s can be improved."),
            Verdict.BAD: _("%s needs to be fixed."),
        }
        return texts[self.verdict] % self.domain


@dataclass(frozen=True, slots=True)
class Report:
    """The domains, and when the name servers were asked."""

    domains: tuple[DomainReport, ...]
    checked_at: datetime


def check(configuration: Configuration) -> Report:
    """Ask the name servers, for up to four seconds."""
    found = senders(configuration)
    lookup = Lookup()
    tasks = [task for domain in _domains(found) for task in _tasks(lookup, domain, found)]
    try:
        with ThreadPoolExecutor(_THREADS, "wagtail-smtp-dns") as threads:
            list(threads.map(_attempt, tasks))
    except RuntimeError:  # too many threads: the answers that are missing are asked for below
        logger.warning("The DNS checks run one after the other.", exc_info=True)
    report = _report(lookup, found, timezone.now())
    with error_logging.without_cache(logger):
        cache.set(_key(found), (report.checked_at, lookup.answers), CACHED)
    return report


def stored(configuration: Configuration) -> Report | None:
    """Return the report from cached answers, in the current language; None if there are none."""
    found = senders(configuration)
    known: tuple[datetime, Answers] | None = None
    with error_logging.without_cache(logger):
        known = cache.get(_key(found))
    return None if known is None else _report(Lookup(known[1]), found, known[0])


def _key(found: Sequence[Sender]) -> str:
    digest = hashlib.sha256(repr((__version__, conf.DKIM_SELECTORS, found)).encode()).hexdigest()
    return f"wagtail_smtp.dns.{digest}"


def _domains(found: Iterable[Sender]) -> list[str]:
    both = (domain for each in found for domain in (each.domain, each.envelope_domain))
    return list(dict.fromkeys(filter(None, both)))[:MOST_DOMAINS]


def _report(lookup: Lookup, found: Sequence[Sender], at: datetime) -> Report:
    return Report(tuple(_domain(lookup, domain, found) for domain in _domains(found)), at)


def _domain(lookup: Lookup, domain: str, found: Sequence[Sender]) -> DomainReport:
    names = [each.name for each in found if domain in (each.domain, each.envelope_domain)]
    findings = tuple(_attempt(task) for task in _tasks(lookup, domain, found))
    return DomainReport(domain, tuple(dict.fromkeys(names)), findings)


Task = tuple[str, Callable[..., Finding], tuple[Any, ...]]


def _tasks(lookup: Lookup, domain: str, found: Sequence[Sender]) -> list[Task]:
    """List the checks of a domain; each looks up records on its own."""
    own = [each for each in found if each.domain == domain]
    all_own = [each for each in found if domain in (each.domain, each.envelope_domain)]
    if owner := owner_of(domain):
        return [("DMARC", dmarc.check_mailbox_domain, (domain, owner, own))]
    servers = {each.host: each for each in all_own if each.host}
    tasks: list[Task] = [("SPF", spf.check, (lookup, domain, all_own))]
    if own:
        tasks.append(("DKIM", dkim.check, (lookup, domain, own)))
        tasks.append(("DMARC", _dmarc, (lookup, domain, own)))
    tasks.append(("MX", hosts.check_mx, (lookup, domain)))
    tasks += [("PTR", hosts.check_ptr, (lookup, each)) for each in servers.values()]
    return tasks


def _dmarc(lookup: Lookup, domain: str, own: Sequence[Sender]) -> Finding:
    try:
        keys: Finding | None = dkim.check(lookup, domain, own)
    except LookupFailed:
        keys = None
    return dmarc.check(lookup, domain, own, keys)


def _attempt(task: Task) -> Finding:
    topic, run, arguments = task
    try:
        return run(*arguments)
    except LookupFailed as error:
        finding = Finding(topic)
        finding.add(Verdict.UNKNOWN, _("%s could not be looked up.") % error)
        return finding
