"""Trying a server out, stage by stage, over the same client that sends mail."""

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.configuration import Recipient, TransportConfig
from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports.base import Letter
from wagtail_smtp.transports.client import Client, StageName
from wagtail_smtp.transports.exchange import Exchange
from wagtail_smtp.transports.extensions import Extensions
from wagtail_smtp.transports.tls import ssl_context
from wagtail_smtp.transports.verdict import failure, is_yes, lost, words
from wagtail_smtp.transports.wire import Reply

#: Seconds that one try may take in all; people are promised 20.
LONGEST = 19.0
#: Seconds of one wait, however patient the set is when it sends mail.
_WAIT = 8.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage that is done, or failed.

    Attributes:
        seconds: how long it took.
        words: the server's words, without control characters and AUTH echoes.
        details: what was found: ``addresses``; ``issuer``, ``expires`` (aware datetime) and
            ``protocol``; ``extensions``; ``with``, for a login by an access token; ``accepted``
            recipients; by stage.
        error: why it failed; it is the last one then.
    """

    name: StageName
    seconds: float
    words: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    error: EmailDeliveryError | None = None


@sensitive_variables()
def check(config: TransportConfig, sender: str, letter: Letter | None = None) -> Iterator[Stage]:
    """Try a server out; each stage comes as it is done, the first that fails is the last.

    Args:
        config: its secrets are used, and never shown.
        sender: the bare address whose acceptance is asked for; empty: not asked.
        letter: a test email to send; its envelope counts instead of ``sender``.
    """
    config = replace(config, timeout=min(config.timeout, _WAIT))
    began = time.monotonic()
    deadline = began + LONGEST
    try:
        context = None if config.security == "none" else ssl_context(config.ca_certificates)
        client = Client(config, context, deadline)
    except (ssl.SSLError, ValueError) as error:
        yield Stage("tls", 0.0, error=MessageDeferred(str(error), phase="tls"))
        return
    try:
        for name in client.steps():
            yield Stage(name, time.monotonic() - began, *_found(name, client))
            began = time.monotonic()
            if began > deadline:
                raise MessageDeferred(_too_slow(config), phase="connect")
        yield from _hand_over(client, config, sender, letter)
    except EmailDeliveryError as error:
        said = getattr(error, "reply", "")
        yield Stage(client.at, time.monotonic() - began, said, error=error)
    finally:
        client.close()


def _too_slow(config: TransportConfig) -> str:
    return f"{config.name}: the server took more than {LONGEST:g} seconds."


def _found(name: str, client: Client) -> tuple[str, dict[str, Any]]:
    """Words and details of a stage that is done."""
    if name == "resolve":
        return "", {"addresses": tuple(dict.fromkeys(a[4][0] for a in client.addresses))}
    if name == "tls":
        return "", certificate(client.sock)
    if name == "greeting":
        said = (client.ehlo_resp or client.helo_resp or b"").partition(b"\n")[0]
        offers = tuple(sorted(word.upper() for word in client.esmtp_features))
        return words(Reply(250, said)), {"extensions": offers}
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


def _hand_over(
    client: Client, config: TransportConfig, sender: str, letter: Letter | None
) -> Iterator[Stage]:
    if letter is not None:
        yield from _send(client, config, letter)
    elif sender:
        client.at = "sender"
        began = time.monotonic()
        said = _ask_for(client, config, sender)
        yield Stage("sender", time.monotonic() - began, said)
    client.wire.say_goodbye()


def _ask_for(client: Client, config: TransportConfig, sender: str) -> str:
    try:
        client.wire.write(b"MAIL FROM:<%b>\r\n" % sender.encode("ascii"))
        reply = client.wire.read_reply()
    except OSError as error:
        raise lost(config.name, "mail", error) from error
    if not is_yes(reply):
        raise failure(config.name, "mail", reply)
    return f"{reply.code} {words(reply)}"


def _send(client: Client, config: TransportConfig, letter: Letter) -> Iterator[Stage]:
    """The test email, one command at a time, so that each answer is known."""
    plain = replace(Extensions.offered(client.esmtp_features), pipelining=False, chunking=False)
    client.at = "sender"
    began = time.monotonic()
    exchange = Exchange(client.wire, plain, config.name, _WAIT)
    try:
        recipients, said = exchange.run(letter.envelope, letter.content, at_once=False, reset=False)
    except EmailDeliveryError as error:
        client.at = _STAGES.get(getattr(error, "phase", ""), "message")
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
