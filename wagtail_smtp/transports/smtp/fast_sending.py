"""Fast sending: use PIPELINING and CHUNKING once a server has proved that they work.

Some servers, or proxies in front of them, announce extensions that don't work. If ``BDAT`` gets no
reply, the outcome is unknown; a server that refuses it without reading the chunk executes the
message as commands. So the first message is sent without extensions, followed by a :class:`Probe`.
Its replies are read when the session is next used or closed, so that no one waits for them.
"""

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Literal

from wagtail_smtp.exceptions import AttemptFailed, MessageOutcomeUnknown, MessageRefused
from wagtail_smtp.transports.smtp.stream import SMTPStream, UnreadableReply, is_positive
from wagtail_smtp.transports.smtp.transaction import ChunkingRefused, Extensions

logger = logging.getLogger(__name__)

#: Result of a probe. ``silent``: not all replies came in time; ``interrupted``: the server closed
#: the session before replying, as it may between any two messages.
ProbeResult = Literal["passed", "refused", "closed", "silent", "interrupted"]

#: Seconds to wait for the replies when the session is needed again.
PROBE_WAIT = 1.0
#: Interruptions after which the probe counts as the reason for them.
_INTERRUPTIONS = 3
#: Not a command, and without a line ending. A server that counts the chunk's bytes reads the RSET
#: after it; any other sends one reply too few, or a different one.
_CHUNK = b"PROBE"
#: Replies to MAIL that mean that a parameter isn't supported.
_PARAMETER = (500, 501, 502, 504, 555)


class Probe:
    """Harmless commands in one write, whose replies show whether the extensions work.

    A server must refuse BDAT outside a transaction with 503, and read and discard its chunk; RSET
    must follow (RFC 3030 2). NOOP may only end a group (RFC 2920 3.1): Postfix and Exim disconnect
    a client that sends anything after it.
    """

    def __init__(self, stream: SMTPStream, *, chunking: bool) -> None:
        self._stream = stream
        self.chunking = chunking
        self._written_at = time.monotonic()

    def write(self) -> None:
        """Send the commands.

        Raises:
            IncompleteWrite: the connection failed.
        """
        bdat = b"BDAT %d LAST\r\n%b" % (len(_CHUNK), _CHUNK) if self.chunking else b""
        self._stream.write(b"RSET\r\n%bRSET\r\nNOOP\r\n" % bdat)
        self._written_at = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds left for the replies."""
        return PROBE_WAIT - (time.monotonic() - self._written_at)

    def read(self, wait: float) -> ProbeResult:
        """Read the replies, once. Unless the probe passed, the session can't be used again.

        Args:
            wait: seconds; later replies count as missing.
        """
        deadline = time.monotonic() + wait
        expected = ("yes", "503", "yes", "yes") if self.chunking else ("yes", "yes", "yes")
        count = 0
        try:
            for reply in expected:
                found = self._stream.read_reply(max(deadline - time.monotonic(), 0.001))
                if found.code == 421 and not count:
                    return "interrupted"
                if not (is_positive(found) if reply == "yes" else found.code == 503):
                    return "refused"
                count += 1
        except TimeoutError:
            return "silent"
        except UnreadableReply:
            return "refused"
        except OSError:
            return "closed" if count else "interrupted"
        return "passed" if self._stream.is_silent() else "refused"


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known about a server.

    Attributes:
        pipelining, chunking: proved to work.
        without_chunking: CHUNKING failed.
        is_off: PIPELINING failed too; the server isn't probed again.
        parameters: MAIL accepts parameters.
    """

    pipelining: bool = False
    chunking: bool = False
    without_chunking: bool = False
    is_off: bool = False
    parameters: bool = True


class FastSending:
    """What this process knows about one server's extensions. Shared by all threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known = _Known()
        self._chunks_were_accepted = False
        self._interruptions = 0
        self.after_fork()

    def after_fork(self) -> None:
        """Reset in a forked child: a running probe and the lock belong to the parent."""
        self._lock = threading.Lock()
        self._is_probing = False

    def usable(self, offered: Extensions) -> Extensions:
        """Return the offered extensions that are safe to use now."""
        known = self._known
        pipelining = offered.pipelining and known.pipelining
        return replace(
            offered,
            pipelining=pipelining,
            # Without PIPELINING it saves little and can't be probed in one write.
            chunking=pipelining and offered.chunking and known.chunking,
            sizes=offered.sizes and known.parameters,
            eight_bit=offered.eight_bit and known.parameters,
        )

    def probe(self, stream: SMTPStream, offered: Extensions) -> Probe | None:
        """Return a probe to send after an accepted message, if one is due."""
        if not offered.pipelining or self._known.pipelining or self._known.is_off:
            return None
        with self._lock:
            if self._is_probing:
                return None
            self._is_probing = True
            return Probe(stream, chunking=offered.chunking and not self._known.without_chunking)

    def probed(self, probe: Probe, result: ProbeResult | None) -> None:
        """Record a probe's result; None: it was aborted and proves nothing."""
        with self._lock:
            self._is_probing = False
            if result == "interrupted":
                self._interruptions += 1
                result = "closed" if self._interruptions >= _INTERRUPTIONS else None
            if result == "passed":
                self._known = replace(self._known, pipelining=True, chunking=probe.chunking)
            elif result is not None and probe.chunking:
                # PIPELINING alone may still work; the next message's session is probed for it.
                self._known = replace(self._known, without_chunking=True)
            elif result is not None:
                self._known = replace(self._known, is_off=True)
        if result not in (None, "passed"):
            what = "CHUNKING" if probe.chunking else "PIPELINING"
            logger.info(
                "%s: %s will not be used (result of the probe: %s).", self._name, what, result
            )

    def chunks_accepted(self) -> None:
        """Record that a message sent with BDAT was accepted."""
        self._chunks_were_accepted = True

    def disable_after(self, error: AttemptFailed, used: Extensions, *, is_alive: bool) -> bool:
        """Whether the extensions used may have caused a failure; if so, turn them off.

        Each True turns something off, so retrying a message ends.

        Args:
            is_alive: the session is new, or the server replied to part of the transaction.
        """
        if error.phase == "mail" and error.code in _PARAMETER and (used.sizes or used.eight_bit):
            return self._turn_off(error, parameters=False)
        if not used.pipelining:
            return False
        is_out_of_step = is_alive and isinstance(error.__cause__, TimeoutError | UnreadableReply)
        if isinstance(error, MessageOutcomeUnknown) or is_out_of_step:
            return self._turn_off(error, pipelining=False, chunking=False, is_off=True)
        # Until a server has accepted a message sent with BDAT, a refusal may be about BDAT.
        is_refused = isinstance(error, MessageRefused) and error.phase == "reply"
        if isinstance(error, ChunkingRefused) or (
            used.chunking and is_refused and not self._chunks_were_accepted
        ):
            return self._turn_off(error, chunking=False, without_chunking=True)
        return False

    def _turn_off(self, error: AttemptFailed, **values: bool) -> bool:
        with self._lock:
            self._known = replace(self._known, **values)
        logger.warning("Extensions are turned off until the next reload: %s", error)
        return True
