"""What has to become of a message when its server fails: the outcomes, and why.

The rules are written from what the project promises, not from what its code does: *unknown* is a
message whose last octet was handed over and of which neither a final reply nor a proof that it
was not taken came.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tests.support.servers.hostile_faults import Fault, Phase

Result = Literal["sent", "deferred", "refused", "too large", "unknown"]

#: What the server offers, by the way a message takes then.
MODES = {
    "one write": ("PIPELINING", "CHUNKING", "SIZE 35882577", "8BITMIME"),
    "groups": ("PIPELINING", "SIZE 35882577", "8BITMIME"),
    "one by one": ("8BITMIME",),
}

_SAID = {
    "4xx": Fault("mail", "refuse", "451 4.3.0 Not now"),
    "5xx": Fault("mail", "refuse", "554 5.7.1 Never"),
    "421": Fault("mail", "refuse", "421 4.3.2 Closing"),
}
_LOST = {
    "close": Fault("mail", "close"),
    "reset": Fault("mail", "reset"),
    "hang": Fault("mail", "hang"),
    "garbage": Fault("mail", "garbage"),
    "endless": Fault("mail", "endless"),
    "endless line": Fault("mail", "endless line"),
}
_SLOW = {"slow": Fault("mail", "slow", delay=0.001)}
#: Slower than the time a set allows for an answer.
_TOO_SLOW = Fault("mail", "slow", delay=0.3)
_ANSWERS = _SAID | _LOST | _SLOW
#: The proof is read, and then the connection breaks.
_SAID_AND_LEFT = {
    f"{name} and close": replace(_SAID[name], then_close=True) for name in ("4xx", "5xx")
}
_TOO_LARGE = {"too large": Fault("mail", "refuse", "552 5.3.4 Too big")}
_CERTIFICATES = {
    kind: Fault("handshake", kind)  # type: ignore[arg-type]
    for kind in ("expired", "wrong name", "self-signed")
}
_WITHOUT_ANSWER = {name: _LOST[name] for name in ("close", "reset", "hang", "garbage")}

_BEFORE_THE_MESSAGE = ("connect", "banner", "ehlo", "starttls", "handshake", "auth")
_AFTERWARDS = ("after", "idle", "quit")
#: The phases an error may name.
_NAMES = {"handshake": "tls", "end": "reply"}
_IN_ORDER = [
    "connect",
    "banner",
    "ehlo",
    "starttls",
    "tls",
    "auth",
    "mail",
    "rcpt",
    "data",
    "reply",
]

#: What ends a session between two messages.
BETWEEN = {
    f"{phase} - {name}": replace(fault, phase=phase, times=1)
    for phase in ("after", "idle")
    for name, fault in {
        "close": Fault("idle", "close"),
        "reset": Fault("idle", "reset"),
        "late 421": Fault("idle", "late421"),
        "later 421": Fault("idle", "late421", delay=0.01),
        "421 and close": Fault("idle", "late421", then_close=True),
        "garbage": Fault("idle", "garbage"),
    }.items()
}


@dataclass(frozen=True)
class Case:
    """One fault in one phase. ``is_large``: the message doesn't fit into the buffers."""

    name: str
    fault: Fault
    mode: str = "one write"
    encryption: str = "starttls"
    is_large: bool = False

    def __str__(self) -> str:
        words = [self.encryption, self.mode, self.fault.phase, self.name]
        if self.fault.skip:
            words[2] += " again"
        if self.fault.phase == "end" and self.fault.kind != "refuse":
            words.append("taken" if self.fault.taken else "not taken")
        return " - ".join([*words, "large"] if self.is_large else words)

    @property
    def is_about_the_message(self) -> bool:
        """Whether the fault strikes where the mode matters."""
        return self.fault.phase not in _BEFORE_THE_MESSAGE

    @property
    def result(self) -> Result:
        """What one attempt has to come to."""
        fault = self.fault
        if fault.phase in _AFTERWARDS or self.name == "slow":
            return "sent"
        if fault.phase in _BEFORE_THE_MESSAGE:
            return "deferred"
        if fault.kind == "refuse":
            return self._said()
        return "unknown" if self._is_handed_over() else "deferred"

    def _said(self) -> Result:
        reply = self.fault.reply
        if reply.startswith("552 5.3.4") and self.fault.phase != "rcpt":
            return "too large"
        # Until RCPT it is the set's fault; a 421 is a 4xx too.
        if reply.startswith("4") or self.fault.phase == "mail":
            return "deferred"
        return "refused"

    def _is_handed_over(self) -> bool:
        """Whether the message's last octet was handed to the kernel before the fault."""
        if self.is_large:
            return False
        return self.mode == "one write" or self.fault.phase in ("body", "end")

    @property
    def phases(self) -> set[str]:
        """What the error may name as its phase."""
        phase = _NAMES.get(self.fault.phase, self.fault.phase)
        if self.result == "unknown":
            return {"reply"}
        if self.is_large:
            return {phase, "body"}
        if phase == "connect":
            return {"connect", "banner", "tls"}
        if phase == "tls" and self.encryption == "starttls":
            return {"starttls", "tls"}  # the client may see it before it begins
        if self.fault.kind == "reset":
            # It may overtake what was said before.
            return set(_IN_ORDER[: _IN_ORDER.index(phase) + 1])
        # The answer to the BDAT line or in the middle of the message is the final one.
        is_final = phase == "body" or (phase == "data" and self.mode == "one write")
        return {phase, "reply"} if is_final else {phase}


def cases() -> Iterator[Case]:
    """All of them; but what takes time only where the way to it differs."""
    seen = set()
    for case in _all():
        way = (case.name, case.fault.phase, case.is_large)
        if case.name in ("hang", "too slow") and case.result != "unknown":
            if way in seen:
                continue
            seen.add(way)
        yield case


def _all() -> Iterator[Case]:
    yield from _before("starttls", ("banner", "ehlo", "starttls", "auth"))
    for name, fault in _ANSWERS.items():
        yield Case(name, replace(fault, phase="ehlo", skip=1))
    yield from _before("ssl", ("banner", "auth"))
    yield from _before("none", ("ehlo",))
    for mode in MODES:
        yield from _message(mode)
    yield Case("too slow", replace(_TOO_SLOW, phase="end", taken=True))
    yield from _large()


def _before(encryption: str, phases: tuple[Phase, ...]) -> Iterator[Case]:
    for phase in phases:
        for name, fault in _ANSWERS.items():
            yield Case(name, replace(fault, phase=phase), encryption=encryption)
    yield Case("refuse", Fault("connect", "refuse"), encryption=encryption)
    for name in ("close", "reset", "hang"):
        yield Case(name, replace(_LOST[name], phase="connect"), encryption=encryption)
    if encryption != "none":
        for name, fault in (_WITHOUT_ANSWER | _CERTIFICATES | _SLOW).items():
            yield Case(name, replace(fault, phase="handshake"), encryption=encryption)
    yield Case("too slow", replace(_TOO_SLOW, phase="banner"), encryption=encryption)


def _message(mode: str) -> Iterator[Case]:
    phases: tuple[Phase, ...] = ("mail", "rcpt", "data")
    for phase in phases:
        for name, fault in (_ANSWERS | _SAID_AND_LEFT).items():
            # The reply to DATA is the last that counts, whatever the server does then.
            if phase != "data" or name not in _SAID_AND_LEFT:
                yield Case(name, replace(fault, phase=phase), mode)
    for name, fault in (_ANSWERS | _TOO_LARGE).items():
        yield Case(name, replace(fault, phase="body"), mode)
    for name, fault in (_SAID | _TOO_LARGE | _SLOW).items():
        yield Case(name, replace(fault, phase="end"), mode)
    for name, fault in _LOST.items():
        for taken in (False, True):
            yield Case(name, replace(fault, phase="end", taken=taken), mode)
    for name in ("close", "reset", "garbage", "endless"):
        yield Case(name, replace(_LOST[name], phase="after"), mode)
    yield Case("late 421", Fault("after", "late421"), mode)
    yield Case("too large", replace(_TOO_LARGE["too large"], phase="mail"), mode)


def _large() -> Iterator[Case]:
    for mode in MODES:
        for name in ("close", "reset", "hang"):
            yield Case(name, replace(_LOST[name], phase="body"), mode, is_large=True)
    for name in ("close", "reset"):
        yield Case(name, replace(_LOST[name], phase="mail"), "one write", is_large=True)
