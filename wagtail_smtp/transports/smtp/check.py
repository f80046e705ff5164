"""Trying a server out, stage by stage, over the same client that sends mail."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.values import Recipient, TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.smtp.connect import Connector, StageName
from wagtail_smtp.transports.smtp.extensions import Extensions
from wagtail_smtp.transports.smtp.fast_sending import PROBE_WAIT, FastSending, Verdict
from wagtail_smtp.transports.smtp.replies import connection_lost, error_for, is_yes, response_text
from wagtail_smtp.transports.smtp.session import SMTPSession
from wagtail_smtp.transports.smtp.stream import Reply
from wagtail_smtp.transports.smtp.tls import ssl_context

#: Seconds that one try may take in all; people are promised 20.
LONGEST = 19.0
#: Seconds of one wait, however patient the set is when it sends mail.
_WAIT = 8.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage that is done, or failed.

    Attributes:
        seconds: how long it took.
        response: the server's words, without control characters and AUTH echoes.
        details: what was found: ``addresses``; ``issuer``, ``expires`` (aware datetime) and
            ``protocol``; ``extensions``; ``with``, for a login by an access token; ``fast``, what
            :class:`SendingCheck` found out about fast sending; ``accepted`` recipients; by stage.
        error: why it failed; it is the last one then.
    """

    name: StageName
    seconds: float
    response: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    error: EmailDeliveryError | None = None


@sensitive_variables()
def check(
    config: TransportConfig, sender: str, outgoing: OutgoingMessage | None = None
) -> Iterator[Stage]:
    """Try a server out; each stage comes as it is done, the first that fails is the last.

    Args:
        config: its secrets are used, and never shown.
        sender: the bare address whose acceptance is asked for; empty: not asked.
        outgoing: a test email to send; its envelope counts instead of ``sender``.
    """
    config = replace(config, timeout=min(config.timeout, _WAIT))
    began = time.monotonic()
    deadline = began + LONGEST
    try:
        context = None if config.encryption == "none" else ssl_context(config.ca_certificates)
        client = Connector(config, context, deadline)
    except (ssl.SSLError, ValueError) as error:
        yield Stage("tls", 0.0, error=MessageDeferred(str(error), phase="tls"))
        return
    trial = SendingCheck(client, config, lambda: Connector(config, context, deadline))
    try:
        for name in client.steps():
            yield Stage(name, time.monotonic() - began, *_found(name, client))
            began = time.monotonic()
            if began > deadline:
                raise MessageDeferred(_too_slow(config), phase="connect")
        yield from _transmit(trial, sender, outgoing)
    except EmailDeliveryError as error:
        said = getattr(error, "reply", "")
        yield Stage(trial.client.at, time.monotonic() - began, said, error=error)
    finally:
        client.close()
        trial.client.close()


def _too_slow(config: TransportConfig) -> str:
    return f"{config.name}: the server took more than {LONGEST:g} seconds."


def _found(name: str, client: Connector) -> tuple[str, dict[str, Any]]:
    """Words and details of a stage that is done."""
    if name == "resolve":
        return "", {"addresses": tuple(dict.fromkeys(a[4][0] for a in client.addresses))}
    if name == "tls":
        return "", certificate(client.sock)
    if name == "greeting":
        said = (client.ehlo_resp or client.helo_resp or b"").partition(b"\n")[0]
        offers = tuple(sorted(word.upper() for word in client.esmtp_features))
        return response_text(Reply(250, said)), {"extensions": offers}
    if name == "auth" and client.has_tokens:
        return "", {"with": "access token"}
    return "", {}


def certificate(sock: Any) -> dict[str, Any]:
    """What is shown of the certificate of an encrypted connection."""
    found = sock.getpeercert() or {}
    issuer = dict(pair for part in found.get("issuer", ()) for pair in part)
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(found["notAfter"]), UTC)
    return {
        "issuer": issuer.get("organizationName") or issuer.get("commonName", ""),
        "expires": expires,
        "protocol": sock.version(),
    }


class SendingCheck:
    """What follows the login: the way of real mail, over as many connections as it takes.

    Attributes:
        client: the connection in use; ``reopen`` makes another.
    """

    def __init__(
        self, client: Connector, config: TransportConfig, reopen: Callable[[], Connector]
    ) -> None:
        self.client = client
        self.config = config
        self._reopen = reopen
        self._fast = FastSending(config.name)

    @property
    def _offered(self) -> Extensions:
        return Extensions.offered(self.client.esmtp_features, self.config.ignored_extensions)

    def check_fast_sending(self) -> str:
        """``yes``; ``partly``: without the CHUNKING that is offered; ``not offered``; ``ignored``;
        or how it failed, a :data:`~wagtail_smtp.transports.fast.Verdict`."""
        if not Extensions.offered(self.client.esmtp_features).pipelining:
            return "not offered"
        if not self._offered.pipelining:
            return "ignored"
        verdict: Verdict = "interrupted"
        while probe := self._fast.probe(self.client.wire, self._offered):
            try:
                probe.write()
                verdict = probe.read(PROBE_WAIT)
            except OSError:
                verdict = "interrupted"
            self._fast.probed(probe, verdict)
            if verdict != "passed":
                self.open_again()
        usable = self._fast.usable(self._offered)
        if usable.pipelining:
            return "yes" if usable.chunking or not self._offered.chunking else "partly"
        return "closed" if verdict == "interrupted" else verdict

    def open_again(self) -> None:
        """Go on over a new connection; it was shown already how one is made."""
        self.client.close()
        self.client, stage = self._reopen(), self.client.at
        try:
            for _stage in self.client.steps():
                pass
        finally:
            self.client.at = stage

    def send(self, outgoing: OutgoingMessage) -> tuple[tuple[Recipient, ...], str]:
        """Hand over the test email as a transport does, again where an extension fails."""
        while True:
            session = SMTPSession(self.client.wire, self._offered, self.config.name, self._fast)
            try:
                return session.send(outgoing.envelope, outgoing.content, _WAIT)
            except AttemptFailed as error:
                if not (session.is_worth_repeating and error.retry_is_safe):
                    raise
            self.open_again()


def _transmit(
    trial: SendingCheck, sender: str, outgoing: OutgoingMessage | None
) -> Iterator[Stage]:
    trial.client.at = "fast"
    began = time.monotonic()
    found = trial.check_fast_sending()
    yield Stage("fast", time.monotonic() - began, details={"fast": found})
    if outgoing is not None:
        yield from _send(trial, outgoing)
    elif sender:
        trial.client.at = "sender"
        began = time.monotonic()
        said = _ask_for(trial.client, trial.config, sender)
        yield Stage("sender", time.monotonic() - began, said)
    trial.client.wire.say_goodbye()


def _ask_for(client: Connector, config: TransportConfig, sender: str) -> str:
    try:
        client.wire.write(b"MAIL FROM:<%b>\r\n" % sender.encode("ascii"))
        reply = client.wire.read_reply()
    except OSError as error:
        raise connection_lost(config.name, "mail", error) from error
    if not is_yes(reply):
        raise error_for(config.name, "mail", reply)
    return f"{reply.code} {response_text(reply)}"


def _send(trial: SendingCheck, outgoing: OutgoingMessage) -> Iterator[Stage]:
    trial.client.at = "sender"
    began = time.monotonic()
    try:
        recipients, said = trial.send(outgoing)
    except EmailDeliveryError as error:
        trial.client.at = _STAGES.get(getattr(error, "phase", ""), "message")
        raise
    seconds = time.monotonic() - began
    yield Stage("sender", seconds)
    accepted = tuple(item.address for item in recipients if item.state == "sent")
    yield Stage("recipient", seconds, _refusals(recipients), {"accepted": accepted})
    yield Stage("message", seconds, said)


#: Phases of an exchange, as people see them.
_STAGES: Mapping[str, StageName] = {"mail": "sender", "size": "sender", "rcpt": "recipient"}


def _refusals(recipients: tuple[Recipient, ...]) -> str:
    return "; ".join(
        f"{item.address}: {item.code} {item.reply}" for item in recipients if item.state != "sent"
    )
