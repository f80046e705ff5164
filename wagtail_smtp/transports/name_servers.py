"""Ask name servers for DNS records, within limits of time, number and size.

The servers are the system's or those in ``WAGTAIL_SMTP["DNS_SERVERS"]``, never an admin's choice,
so they may have internal addresses. This needs dnspython, from the extra ``dns``.
"""

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from wagtail_smtp.conf import conf

if TYPE_CHECKING:
    from dns.resolver import Answer, Resolver

#: The command that installs the extra.
INSTALL = 'pip install "wagtail-smtp[dns]"'
#: Seconds for all queries together, for one query, and for one attempt.
TIME_LIMIT, _PER_QUERY, _PER_ATTEMPT = 4.0, 2.0, 0.8
#: How many different queries are sent.
MOST_QUERIES = 150
#: Records, and characters of all records together, in one answer.
MOST_RECORDS, MOST_CHARACTERS = 100, 16_384

#: The records by name and type. None: they could not be looked up.
Answers = dict[tuple[str, str], tuple[str, ...] | None]


class LookupFailed(Exception):
    """A name could not be looked up, which says nothing about its records."""


def is_installed() -> bool:
    """Whether the packages of the extra are installed."""
    return all(find_spec(name) for name in ("dns", "publicsuffixlist"))


class Lookup:
    """Looks up records and remembers all answers. Threads may share it.

    Args:
        answers: from an earlier lookup; the name servers are then not asked again.
    """

    def __init__(self, answers: Answers | None = None) -> None:
        self.answers: Answers = {} if answers is None else answers
        self._may_ask = answers is None
        self._until = time.monotonic() + TIME_LIMIT

    def records(self, name: str, kind: str) -> tuple[str, ...]:
        """Return the records of a name as text; empty if there are none.

        Args:
            kind: the type: ``TXT``, ``A``, ``AAAA``, ``PTR``, or ``MX`` with the priority first.

        Raises:
            LookupFailed: there was no usable answer.
        """
        key = name.lower().rstrip("."), kind
        if key not in self.answers and self._may_ask:
            self.answers[key] = self._ask(*key)
        found = self.answers.get(key)
        if found is None:
            raise LookupFailed(name)
        return found

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the IP addresses of a host.

        Raises:
            LookupFailed: see :meth:`records`.
        """
        return self.records(host, "A") + self.records(host, "AAAA")

    def _ask(self, name: str, kind: str) -> tuple[str, ...] | None:
        import dns.exception
        import dns.name
        import dns.resolver

        left = self._until - time.monotonic()
        if left <= 0 or len(self.answers) >= MOST_QUERIES:
            return None
        try:
            # Absolute, or the system's search domains would be tried too.
            absolute = dns.name.from_text(name, dns.name.root)
            lifetime = min(left, _PER_QUERY)
            answer = _resolver().resolve(absolute, kind, lifetime=lifetime, search=False)
        except dns.resolver.NXDOMAIN as error:
            return () if _is_empty(error.kwargs["responses"][absolute], absolute) else None
        except dns.resolver.NoAnswer as error:
            return () if _is_empty(error.kwargs["response"], absolute) else None
        # dnspython's parsers raise various errors for malformed data.
        except (dns.exception.DNSException, OSError, EOFError, ValueError):
            return None
        return _texts(answer, kind)


def _resolver() -> "Resolver":
    import dns.resolver
    from dns.nameserver import Do53Nameserver

    configured = conf.DNS_SERVERS
    resolver = dns.resolver.Resolver(configure=configured is None)
    if configured is not None:
        resolver.nameservers = [Do53Nameserver(address, port) for address, port in configured]
    resolver.timeout = _PER_ATTEMPT
    # Large answers then need no TCP connection (DNS flag day 2020: 1232 bytes).
    resolver.use_edns(0, 0, 1232)
    return resolver


def _is_empty(response: Any, name: Any) -> bool:
    """Whether a response without the records is credible: complete, and at most an alias."""
    import dns.flags
    import dns.rdatatype

    aliases = {rrset.name for rrset in response.answer if rrset.rdtype == dns.rdatatype.CNAME}
    is_credible = not response.answer or name in aliases
    return is_credible and not response.flags & dns.flags.TC


def _texts(answer: "Answer", kind: str) -> tuple[str, ...] | None:
    import dns.flags

    if answer.response.flags & dns.flags.TC or len(answer) > MOST_RECORDS:
        return None
    found = tuple(sorted(_text(record, kind) for record in answer))
    return found if sum(map(len, found)) <= MOST_CHARACTERS else None


def _text(record: Any, kind: str) -> str:
    if kind == "TXT":
        # Strings of one record are joined without spaces (RFC 7208 3.3).
        return b"".join(record.strings).decode("ascii", "backslashreplace")
    if kind == "MX":
        return f"{record.preference} {record.exchange}"
    return str(record).rstrip(".")
