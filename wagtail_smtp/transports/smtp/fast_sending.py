"""Fast sending: PIPELINING and CHUNKING, used where a server was seen to do them.

Some servers, and proxies in front of them, announce what they can't do. One that doesn't answer
``BDAT`` leaves a message's fate unknown; one that refuses it without reading its chunk runs the
message as commands. So the first message goes the plain way. Right behind its reply a
:class:`Probe` follows, whose replies are read when the session is next used or closed, so that
nobody waits for it.
"""

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Literal

from wagtail_smtp.exceptions import AttemptFailed, MessageOutcomeUnknown, MessageRefused
from wagtail_smtp.transports.smtp.extensions import Extensions
from wagtail_smtp.transports.smtp.replies import is_yes
from wagtail_smtp.transports.smtp.stream import SMTPStream, UnreadableReply
from wagtail_smtp.transports.smtp.transaction import ChunkingRefused

logger = logging.getLogger(__name__)

#: What a probe showed. ``silent``: not all replies came in time; ``interrupted``: the server said
#: goodbye ahead of them, as it may between any two messages.
Verdict = Literal["passed", "refused", "closed", "silent", "interrupted"]

#: Seconds that the replies may take if the session is wanted again.
PROBE_WAIT = 1.0
#: Interruptions after which a server counts as one that hangs up on a probe.
_INTERRUPTIONS = 3
#: A command that no server knows, without a line end: a server that counts the chunk's bytes reads
#: the RSET behind it, and any other answers with one reply too few, or another one.
_CHUNK = b"PROBE"
#: Replies to MAIL that mean a parameter isn't known after all.
_PARAMETER = (500, 501, 502, 504, 555)


class Probe:
    """Harmless commands in one write whose replies show what a server does.

    BDAT outside a transaction has to be refused with 503, its chunk read and thrown away, and
    RSET sent next (RFC 3030 2). NOOP may only end a group (RFC 2920 3.1): Postfix and Exim hang
    up on a client that sends anything behind it.
    """

    def __init__(self, wire: SMTPStream, *, chunking: bool) -> None:
        self._wire = wire
        self.chunking = chunking
        self._written_at = time.monotonic()

    def write(self) -> None:
        """Send the commands.

        Raises:
            IncompleteWrite: the connection failed.
        """
        bdat = b"BDAT %d LAST\r\n%b" % (len(_CHUNK), _CHUNK) if self.chunking else b""
        self._wire.write(b"RSET\r\n%bRSET\r\nNOOP\r\n" % bdat)
        self._written_at = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds that the replies may still take."""
        return PROBE_WAIT - (time.monotonic() - self._written_at)

    def read(self, wait: float) -> Verdict:
        """What the replies show. They are read once; unless they passed, the session is lost.

        Args:
            wait: seconds; what hasn't come by then counts as not coming.
        """
        deadline = time.monotonic() + wait
        expected = ("yes", "503", "yes", "yes") if self.chunking else ("yes", "yes", "yes")
        count = 0
        try:
            for reply in expected:
                found = self._wire.read_reply(max(deadline - time.monotonic(), 0.001))
                if found.code == 421 and not count:
                    return "interrupted"
                if not (is_yes(found) if reply == "yes" else found.code == 503):
                    return "refused"
                count += 1
        except TimeoutError:
            return "silent"
        except UnreadableReply:
            return "refused"
        except OSError:
            return "closed" if count else "interrupted"
        return "passed" if self._wire.is_silent() else "refused"


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found out about a server.

    Attributes:
        pipelining, chunking: whether it was seen to do them.
        without_chunking: it failed at CHUNKING.
        is_off: it failed, and isn't probed again.
        parameters: whether MAIL may have parameters.
    """

    pipelining: bool = False
    chunking: bool = False
    without_chunking: bool = False
    is_off: bool = False
    parameters: bool = True


class FastSending:
    """What a process knows of one server's extensions. Shared by all threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known = _Known()
        self._has_taken_chunks = False
        self._interruptions = 0
        self.after_fork()

    def after_fork(self) -> None:
        """In the child: a probe under way, and the lock, are the parent's."""
        self._lock = threading.Lock()
        self._is_probing = False

    def usable(self, offered: Extensions) -> Extensions:
        """Those of a session's extensions that a message may be risked on now."""
        known = self._known
        pipelining = offered.pipelining and known.pipelining
        return replace(
            offered,
            pipelining=pipelining,
            # Without PIPELINING it would save little, and couldn't be probed in one write.
            chunking=pipelining and offered.chunking and known.chunking,
            sizes=offered.sizes and known.parameters,
            eight_bit=offered.eight_bit and known.parameters,
        )

    def probe(self, wire: SMTPStream, offered: Extensions) -> Probe | None:
        """A probe to be sent over a session whose first message was accepted, if one is due."""
        if not offered.pipelining or self._known.pipelining or self._known.is_off:
            return None
        with self._lock:
            if self._is_probing:
                return None
            self._is_probing = True
            return Probe(wire, chunking=offered.chunking and not self._known.without_chunking)

    def probed(self, probe: Probe, verdict: Verdict | None) -> None:
        """Take note of a probe's end; None: it was broken off, and proves nothing."""
        with self._lock:
            self._is_probing = False
            if verdict == "interrupted":
                self._interruptions += 1
                verdict = "closed" if self._interruptions >= _INTERRUPTIONS else None
            if verdict == "passed":
                self._known = replace(self._known, pipelining=True, chunking=probe.chunking)
            elif verdict is not None and probe.chunking:
                # PIPELINING alone may still work; the next message's session is asked.
                self._known = replace(self._known, without_chunking=True)
            elif verdict is not None:
                self._known = replace(self._known, is_off=True)
        if verdict not in (None, "passed"):
            what = "CHUNKING" if probe.chunking else "PIPELINING"
            logger.info("%s: %s is not used: the probe was %s.", self._name, what, verdict)

    def took_chunks(self) -> None:
        """A message sent by BDAT was accepted."""
        self._has_taken_chunks = True

    def is_to_blame(self, error: AttemptFailed, used: Extensions, *, is_alive: bool) -> bool:
        """Whether the extensions used may have caused a failure; they aren't used again then.

        Each True takes something away, so repeating a message comes to an end.

        Args:
            is_alive: the session is new, or the server answered part of the exchange.
        """
        if error.phase == "mail" and error.code in _PARAMETER and (used.sizes or used.eight_bit):
            return self._turn_off(error, parameters=False)
        if not used.pipelining:
            return False
        is_out_of_step = is_alive and isinstance(error.__cause__, TimeoutError | UnreadableReply)
        if isinstance(error, MessageOutcomeUnknown) or is_out_of_step:
            return self._turn_off(error, pipelining=False, chunking=False, is_off=True)
        # Until a server has accepted a message by BDAT, its refusal may mean BDAT.
        is_refused = isinstance(error, MessageRefused) and error.phase == "reply"
        if isinstance(error, ChunkingRefused) or (
            used.chunking and is_refused and not self._has_taken_chunks
        ):
            return self._turn_off(error, chunking=False, without_chunking=True)
        return False

    def _turn_off(self, error: AttemptFailed, **values: bool) -> bool:
        with self._lock:
            self._known = replace(self._known, **values)
        logger.warning("Fast sending is reduced until the next reload: %s", error)
        return True
