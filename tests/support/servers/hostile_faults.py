"""What can go wrong on a server's side, and when."""

import functools
import ssl
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import trustme

from tests.support.servers.smtp_server import CA, server_context

Phase = Literal[
    "connect", "banner", "ehlo", "starttls", "handshake", "auth", "mail", "rcpt",
    "data", "body", "end", "after", "idle", "quit", "reset", "probe",
]  # fmt: skip
Kind = Literal[
    "refuse", "close", "reset", "hang", "slow", "garbage", "endless", "endless line", "late421",
    "recipients", "parameters", "injected", "expired", "wrong name", "self-signed",
]  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Something that a server does wrong.

    Phases are commands and: ``connect`` before anything else; ``handshake`` of TLS; ``data``
    the DATA command or the BDAT line; ``body`` in the middle of the message; ``end`` after its
    last octet, instead of the final reply; ``after`` right behind the final reply; ``idle``
    when nothing came for ``delay`` seconds after it; ``reset`` the RSET command; ``probe`` a BDAT
    without a message.

    Kinds:
        refuse: answers ``reply``, and closes if that is a 421. At ``connect`` nobody listens.
        close, reset: ends the connection with FIN or RST.
        hang: does nothing more.
        slow: answers octet by octet, ``delay`` seconds apart, or pauses where none is due.
        garbage, endless, endless line: binary nonsense, a reply whose lines never end, a line
            that never ends, instead of the answer.
        late421: ``reply`` unasked, ``delay`` seconds behind what came before it.
        recipients: at ``rcpt``, the answers to the addresses in ``replies``.
        parameters: at ``mail``, refuses SIZE= and BODY= though it announced them.
        injected: at ``starttls``, sends a reply in plain text ahead of the handshake.
        expired, wrong name, self-signed: the certificate at ``handshake``.

    Attributes:
        taken: at ``end``, whether the message counts as received.
        skip: how often the phase passes before.
        times: how often it strikes.
        on_connection: only on this one, from 1.
        from_connection: only on this one and later ones.
    """

    phase: Phase
    kind: Kind
    reply: str = ""
    replies: tuple[tuple[str, str], ...] = ()
    taken: bool = False
    delay: float = 0.0
    then_close: bool = False
    skip: int = 0
    times: int | None = None
    on_connection: int | None = None
    from_connection: int = 1

    @property
    def words(self) -> str:
        """``reply`` or what fits the kind."""
        usual = {"late421": "421 4.3.2 Closing", "parameters": "555 5.5.4 No such parameter"}
        return self.reply or usual.get(self.kind, "451 4.3.0 Not now")


@dataclass
class Faults:
    """The faults of a server, and which of them struck. For many threads."""

    planned: Sequence[Fault]
    struck: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._passed: Counter[int] = Counter()
        self._changed = threading.Condition()

    def at(self, phase: Phase, connection: int) -> Fault | None:
        """The fault that is due now."""
        with self._changed:
            for number, fault in enumerate(self.planned):
                if fault.phase != phase or fault.on_connection not in (None, connection):
                    continue
                if connection < fault.from_connection:
                    continue
                self._passed[number] += 1
                turn = self._passed[number] - fault.skip
                if turn >= 1 and (fault.times is None or turn <= fault.times):
                    return fault
        return None

    def note(self, fault: Fault) -> None:
        """It struck."""
        with self._changed:
            self.struck.append(fault)
            self._changed.notify_all()

    def wait(self, count: int = 1, timeout: float = 5) -> None:
        """Until ``count`` faults have struck."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.struck) >= count, timeout), self.planned


@functools.cache
def tls_context(certificate: str = "") -> ssl.SSLContext:
    """A server's TLS, its certificate good, ``expired``, ``wrong name`` or ``self-signed``."""
    if certificate == "wrong name":
        return server_context("another.example")
    if certificate not in ("expired", "self-signed"):
        return server_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate == "expired":
        now = datetime.now(UTC)
        leaf = CA.issue_cert(
            "127.0.0.1", not_before=now - timedelta(days=30), not_after=now - timedelta(days=1)
        )
    else:
        own = trustme.CA()
        leaf = trustme.LeafCert(own.private_key_pem.bytes(), own.cert_pem.bytes(), [])
    leaf.configure_cert(context)
    return context
