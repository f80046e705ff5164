"""Check an email provider in stages: the connection, then optionally a test email."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.catalog import ESPConfig
from wagtail_smtp.transports.esp.transport import AnymailTransport
from wagtail_smtp.transports.smtp.check import LONGEST, Stage, certificate
from wagtail_smtp.transports.smtp.connect import StageName
from wagtail_smtp.transports.smtp.tls import ssl_context

#: Maximum seconds of one wait, even if the set's timeout is longer.
_WAIT = 3.0


@sensitive_variables()
def check_esp(config: ESPConfig, outgoing: OutgoingMessage | None = None) -> Iterator[Stage]:
    """Check an email provider; yield each stage when it is done. A failed stage is the last.

    The key can only be checked by sending a message.

    Args:
        config: its keys are used but never shown.
        outgoing: a test email to send.
    """
    config = replace(config, timeout=min(config.timeout, _WAIT))
    at: StageName = "resolve"
    began = time.monotonic()
    deadline = began + LONGEST
    sock: socket.socket | None = None
    try:
        addresses = guard.resolve(config.host, config.port, within=_WAIT)
        found = {"addresses": tuple(dict.fromkeys(item[4][0] for item in addresses))}
        yield Stage(at, time.monotonic() - began, details=found)
        at, began = "connect", time.monotonic()
        opening = _Opening(config)
        try:
            sock = guard.open_first(addresses, config.timeout, opening)
        except (OSError, ValueError) as error:
            opening.failure = error
        if opening.connected_at:
            yield Stage(at, opening.connected_at - began)
            at, began = "tls", opening.connected_at
        if opening.failure is not None:
            raise opening.failure
        if config.encryption == "ssl":
            yield Stage(at, time.monotonic() - began, details=certificate(sock))
        if outgoing is not None:
            at, began = "message", time.monotonic()
            yield from _send(config, outgoing, deadline - began)
    except EmailDeliveryError as error:
        said = getattr(error, "reply", "")
        yield Stage(at, time.monotonic() - began, said, error=error)
    except (OSError, ValueError) as error:
        phase = "tls" if at == "tls" else "connect"
        failed = MessageDeferred(f"{config.name}: failed at {phase}: {error}", phase=phase)
        failed.__cause__ = error
        yield Stage(at, time.monotonic() - began, error=failed)
    finally:
        if sock is not None:
            sock.close()


class _Opening:
    """Called with each connected socket; encrypts it and records the progress.

    Attributes:
        connected_at: monotonic time of the last TCP connection; 0: none.
        failure: why no address works.
    """

    def __init__(self, config: ESPConfig) -> None:
        self._host = config.host
        self._context = ssl_context(config.ca_certificates) if config.encryption == "ssl" else None
        self.connected_at = 0.0
        self.failure: Exception | None = None

    def __call__(self, plain: socket.socket) -> socket.socket:
        self.connected_at = time.monotonic()
        if self._context is None:
            return plain
        return self._context.wrap_socket(plain, server_hostname=self._host)


@sensitive_variables()
def _send(config: ESPConfig, outgoing: OutgoingMessage, within: float) -> Iterator[Stage]:
    # Half of the time is for connecting again, which takes at most four waits.
    config = replace(config, timeout=min(config.timeout, within / 8))
    transport = AnymailTransport(config)
    began = time.monotonic()
    try:
        outcome = transport.send(outgoing, within / 2)
    finally:
        transport.close()
    seconds = time.monotonic() - began
    refusals = "; ".join(f"{item.address}: {item.reply}" for item in outcome.not_sent)
    accepted = tuple(item.address for item in outcome.recipients if item.state == "sent")
    yield Stage("recipient", seconds, refusals, {"accepted": accepted})
    named = next((item.provider_id for item in outcome.recipients if item.provider_id), "")
    yield Stage("message", seconds, named)
