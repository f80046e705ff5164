"""Check an SMTP server in stages, with the client that sends mail."""

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.values import Recipient, TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.base import (
    LONGEST_CHECK,
    OutgoingMessage,
    Stage,
    StageName,
    StageTimer,
)
from wagtail_smtp.transports.smtp.connect import Connector
from wagtail_smtp.transports.smtp.fast_sending import PROBE_WAIT, FastSending, ProbeResult
from wagtail_smtp.transports.smtp.session import SMTPSession
from wagtail_smtp.transports.smtp.stream import (
    Reply,
    classify_reply,
    connection_lost,
    is_positive,
    response_text,
)
from wagtail_smtp.transports.smtp.transaction import Extensions
from wagtail_smtp.transports.tls import certificate, ssl_context

#: Maximum seconds of one wait, even if the set's timeout is longer.
_WAIT = 8.0


@sensitive_variables()
def check(
    config: TransportConfig, sender: str = "", outgoing: OutgoingMessage | None = None
) -> Iterator[Stage]:
    """See :meth:`wagtail_smtp.transports.base.Transport.check`."""
    config = replace(config, timeout=min(config.timeout, _WAIT))
    timer = StageTimer("tls")
    try:
        context = None if config.encryption == "none" else ssl_context(config.ca_certificates)
        checked = SMTPCheck(config, context, timer)
    except (ssl.SSLError, ValueError) as error:
        yield timer.failed(MessageDeferred(str(error), phase="tls"))
        return
    try:
        yield from checked.open()
        timer.begin("fast")
        yield timer.passed(fast=checked.check_fast_sending())
        timer.begin("sender")
        if outgoing is not None:
            yield from checked.send(outgoing)
        elif sender:
            yield timer.passed(checked.offer_sender(sender), sender=sender)
        checked.quit()
    except EmailDeliveryError as error:
        offered = outgoing.envelope.sender if outgoing is not None else sender
        yield timer.failed(error, **({"sender": offered} if timer.at == "sender" else {}))
    finally:
        checked.close()


class SMTPCheck:
    """The stages of a check, done as for real mail, over several connections if needed."""

    def __init__(
        self, config: TransportConfig, context: ssl.SSLContext | None, timer: StageTimer
    ) -> None:
        self._config = config
        self._context = context
        self._timer = timer
        self._deadline = timer.began + LONGEST_CHECK
        self._fast = FastSending(config.name)
        self._client = self._connector()

    def _connector(self) -> Connector:
        return Connector(self._config, self._context, self._deadline)

    def open(self) -> Iterator[Stage]:
        """Connect, encrypt and log in."""
        try:
            for name in self._client.steps():
                self._timer.at = name
                response, details = _result(name, self._client, self._config)
                yield self._timer.passed(response, **details)
                self._timer.begin(name)
                if self._timer.began > self._deadline:
                    raise MessageDeferred(
                        f"{self._config.name}: the check took longer than {LONGEST_CHECK:g} "
                        "seconds.",
                        phase="connect",
                    )
        finally:
            self._timer.at = self._client.at

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def quit(self) -> None:
        """Send QUIT and close the connection."""
        self._client.stream.quit()

    def _reconnect(self) -> None:
        """Continue over a new connection, without showing its stages again."""
        self._client.close()
        self._client = self._connector()
        for _stage in self._client.steps():
            pass

    @property
    def _offered(self) -> Extensions:
        return Extensions.offered(self._client.esmtp_features, self._config.ignored_extensions)

    def check_fast_sending(self) -> str:
        """Return whether PIPELINING and CHUNKING work.

        Returns:
            ``yes``; ``partly``: CHUNKING is offered but doesn't work; ``not offered``; ``ignored``;
            or a failed :data:`~wagtail_smtp.transports.smtp.fast_sending.ProbeResult`.
        """
        if not Extensions.offered(self._client.esmtp_features).pipelining:
            return "not offered"
        if not self._offered.pipelining:
            return "ignored"
        result: ProbeResult = "interrupted"
        while probe := self._fast.probe(self._client.stream, self._offered):
            try:
                probe.write()
                result = probe.read(PROBE_WAIT)
            except OSError:
                result = "interrupted"
            self._fast.probed(probe, result)
            if result != "passed":
                self._reconnect()
        usable = self._fast.usable(self._offered)
        if usable.pipelining:
            return "yes" if usable.chunking or not self._offered.chunking else "partly"
        return "closed" if result == "interrupted" else result

    def offer_sender(self, sender: str) -> str:
        """Send MAIL; return the server's response.

        Raises:
            AttemptFailed: the server refused the sender, or the connection failed.
        """
        name, stream = self._config.name, self._client.stream
        try:
            stream.write(b"MAIL FROM:<%b>\r\n" % sender.encode("ascii"))
            reply = stream.read_reply()
        except OSError as error:
            raise connection_lost(name, "mail", error) from error
        if not is_positive(reply):
            raise classify_reply(name, "mail", reply)
        return f"{reply.code} {response_text(reply)}"

    def send(self, outgoing: OutgoingMessage) -> Iterator[Stage]:
        """Send the test email as a transport does."""
        try:
            recipients, response = self._transmit(outgoing)
        except EmailDeliveryError as error:
            self._timer.at = _STAGES.get(getattr(error, "phase", ""), "message")
            raise
        seconds = time.monotonic() - self._timer.began
        yield Stage("sender", seconds, details={"sender": outgoing.envelope.sender})
        accepted = tuple(item.address for item in recipients if item.state == "sent")
        yield Stage("recipient", seconds, _refusals(recipients), {"accepted": accepted})
        yield Stage("message", seconds, response)

    def _transmit(self, outgoing: OutgoingMessage) -> tuple[tuple[Recipient, ...], str]:
        """Send the message; retry if an extension fails."""
        while True:
            session = SMTPSession(self._client.stream, self._offered, self._config.name, self._fast)
            try:
                return session.send(outgoing.envelope, outgoing.content, _WAIT)
            except AttemptFailed as error:
                if not (session.should_retry and error.retry_is_safe):
                    raise
            self._reconnect()


def _result(name: str, client: Connector, config: TransportConfig) -> tuple[str, dict[str, Any]]:
    """Response and details of a finished stage."""
    if name == "resolve":
        return "", {"addresses": guard.ip_addresses(client.addresses)}
    if name == "tls":
        return "", certificate(client.sock)
    if name == "greeting":
        line = (client.ehlo_resp or client.helo_resp or b"").partition(b"\n")[0]
        offers = tuple(sorted(word.upper() for word in client.esmtp_features))
        return response_text(Reply(250, line)), {"extensions": offers}
    if name == "auth" and config.tokens is not None:
        return "", {"with": "access token"}
    return "", {}


#: The stages shown for the phases of a transaction.
_STAGES: Mapping[str, StageName] = {"mail": "sender", "size": "sender", "rcpt": "recipient"}


def _refusals(recipients: tuple[Recipient, ...]) -> str:
    return "; ".join(
        f"{item.address}: {item.code} {item.reply}" for item in recipients if item.state != "sent"
    )
