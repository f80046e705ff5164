"""Check an SMTP server in stages, with the client that sends mail."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.values import Recipient, TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports.base import LONGEST_CHECK, OutgoingMessage, Stage, StageName
from wagtail_smtp.transports.smtp.connect import Connector
from wagtail_smtp.transports.smtp.fast_sending import PROBE_WAIT, FastSending, Verdict
from wagtail_smtp.transports.smtp.session import SMTPSession
from wagtail_smtp.transports.smtp.stream import (
    Reply,
    connection_lost,
    error_for,
    is_yes,
    response_text,
)
from wagtail_smtp.transports.smtp.transaction import Extensions
from wagtail_smtp.transports.tls import certificate, ssl_context

#: Maximum seconds of one wait, even if the set's timeout is longer.
_WAIT = 8.0


@sensitive_variables()
def check(
    config: TransportConfig, sender: str, outgoing: OutgoingMessage | None = None
) -> Iterator[Stage]:
    """Check a server; yield each stage when it is done. A failed stage is the last.

    Args:
        config: its secrets are used but never shown.
        sender: the bare address to offer as the sender; empty: skip this.
        outgoing: a test email to send; its envelope is used instead of ``sender``.
    """
    config = replace(config, timeout=min(config.timeout, _WAIT))
    began = time.monotonic()
    deadline = began + LONGEST_CHECK
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
        at, said = trial.client.at, getattr(error, "reply", "")
        offered = outgoing.envelope.sender if outgoing is not None else sender
        details = {"sender": offered} if at == "sender" else {}
        yield Stage(at, time.monotonic() - began, said, details, error)
    finally:
        client.close()
        trial.client.close()


def _too_slow(config: TransportConfig) -> str:
    return f"{config.name}: the check took longer than {LONGEST_CHECK:g} seconds."


def _found(name: str, client: Connector) -> tuple[str, dict[str, Any]]:
    """Response and details of a finished stage."""
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


class SendingCheck:
    """The stages after the login, done as for real mail, over several connections if needed.

    Attributes:
        client: the current connection; ``reopen`` returns a new one.
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
        """Return ``yes``; ``partly``: CHUNKING is offered but doesn't work; ``not offered``;
        ``ignored``; or the failed :data:`~wagtail_smtp.transports.smtp.fast_sending.Verdict`."""
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
        """Continue over a new connection, without showing its stages again."""
        self.client.close()
        self.client, stage = self._reopen(), self.client.at
        try:
            for _stage in self.client.steps():
                pass
        finally:
            self.client.at = stage

    def send(self, outgoing: OutgoingMessage) -> tuple[tuple[Recipient, ...], str]:
        """Send the test email as a transport does; retry if an extension fails."""
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
        yield Stage("sender", time.monotonic() - began, said, {"sender": sender})
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
    yield Stage("sender", seconds, details={"sender": outgoing.envelope.sender})
    accepted = tuple(item.address for item in recipients if item.state == "sent")
    yield Stage("recipient", seconds, _refusals(recipients), {"accepted": accepted})
    yield Stage("message", seconds, said)


#: The stages shown for the phases of a transaction.
_STAGES: Mapping[str, StageName] = {"mail": "sender", "size": "sender", "rcpt": "recipient"}


def _refusals(recipients: tuple[Recipient, ...]) -> str:
    return "; ".join(
        f"{item.address}: {item.code} {item.reply}" for item in recipients if item.state != "sent"
    )
