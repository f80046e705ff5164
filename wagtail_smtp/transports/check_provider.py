"""Trying a provider out, stage by stage: its address, and with a test email its answer."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.anymail import AnymailTransport
from wagtail_smtp.transports.base import Letter
from wagtail_smtp.transports.check import LONGEST, Stage, certificate
from wagtail_smtp.transports.client import StageName
from wagtail_smtp.transports.provider_config import ProviderConfig
from wagtail_smtp.transports.smtp import ssl_context

#: Seconds of one wait, however patient the set is when it sends mail.
_WAIT = 3.0


@sensitive_variables()
def check_provider(config: ProviderConfig, letter: Letter | None = None) -> Iterator[Stage]:
    """Try a provider out; each stage comes as it is done, the first that fails is the last.

    Without a message no provider can be asked whether it knows the key.

    Args:
        config: its keys are used, and never shown.
        letter: a test email to send.
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
        sock = guard.connect(addresses, config.timeout)
        yield Stage(at, time.monotonic() - began)
        if config.security == "ssl":
            at, began = "tls", time.monotonic()
            context = ssl_context(config.ca_certificates)
            sock = context.wrap_socket(sock, server_hostname=config.host)
            yield Stage(at, time.monotonic() - began, details=certificate(sock))
        if letter is not None:
            at, began = "message", time.monotonic()
            yield from _send(config, letter, deadline - began)
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


@sensitive_variables()
def _send(config: ProviderConfig, letter: Letter, within: float) -> Iterator[Stage]:
    # Half of the time for connecting once more, which takes four waits at most.
    config = replace(config, timeout=min(config.timeout, within / 8))
    transport = AnymailTransport(config)
    began = time.monotonic()
    try:
        outcome = transport.send(letter, within / 2)
    finally:
        transport.close()
    seconds = time.monotonic() - began
    refusals = "; ".join(f"{item.address}: {item.reply}" for item in outcome.not_sent)
    accepted = tuple(item.address for item in outcome.recipients if item.state == "sent")
    yield Stage("recipient", seconds, refusals, {"accepted": accepted})
    named = next((item.provider_id for item in outcome.recipients if item.provider_id), "")
    yield Stage("message", seconds, named)
