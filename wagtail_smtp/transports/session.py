"""One SMTP session: opened by a client, it hands over messages one by one."""

import math
import ssl
import time

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.configuration import Recipient, TransportConfig
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.transports.client import Client
from wagtail_smtp.transports.exchange import Exchange
from wagtail_smtp.transports.extensions import Extensions
from wagtail_smtp.transports.wire import Wire


class SMTPSession:
    """An open session, logged in where configured. Used by one thread at a time."""

    def __init__(self, wire: Wire, extensions: Extensions, name: str) -> None:
        self._wire = wire
        self._extensions = extensions
        self._name = name
        self._needs_reset = False
        #: Whether something failed so that no message may follow.
        self.is_broken = False
        #: Messages handed over so far.
        self.messages = 0
        #: Monotonic times: of the last use, and after which it is not used again.
        self.used_at = time.monotonic()
        self.expires_at = math.inf

    def send(
        self, envelope: Envelope, content: bytes, patience: float
    ) -> tuple[tuple[Recipient, ...], str]:
        """Hand over one message; see :meth:`Exchange.run`.

        Args:
            patience: seconds to wait for the reply to the whole message.
        """
        exchange = Exchange(self._wire, self._extensions, self._name, patience)
        is_fresh = time.monotonic() - self.used_at <= conf.ONE_WRITE_WITHIN
        offers = self._extensions
        try:
            return exchange.run(
                envelope,
                content,
                at_once=offers.pipelining and offers.chunking and is_fresh,
                # An old session's first command must be one that costs nothing if it fails.
                reset=self._needs_reset or not is_fresh,
            )
        except BaseException as error:
            # Interrupted at any point, nobody knows which replies are still to come.
            self.is_broken = not isinstance(error, EmailDeliveryError)
            raise
        finally:
            self._needs_reset = not exchange.is_finished
            self.is_broken = self.is_broken or not exchange.in_step
            self.messages += 1
            self.used_at = time.monotonic()

    def is_usable(self) -> bool:
        """Whether the next message may go over this session: nothing failed, nothing waits."""
        return not self.is_broken and self._wire.is_quiet()

    def close(self) -> None:
        """Say goodbye without waiting for the answer, and close the socket; never raises."""
        self._wire.say_goodbye()

    def abandon(self) -> None:
        """Close the descriptor without a word: after a fork the session is the parent's."""
        self._wire.close()


@sensitive_variables()
def open_session(
    config: TransportConfig, context: ssl.SSLContext | None, *, chunking: bool = True
) -> SMTPSession:
    """Connect, encrypt and log in.

    Args:
        context: None where nothing is encrypted.
        chunking: False: don't use CHUNKING though the server offers it.

    Raises:
        MessageDeferred: the server couldn't be reached or didn't let us in.
        DestinationRefused: the address may not be connected to.
    """
    client = Client(config, context)
    try:
        for _stage in client.steps():
            pass
    except BaseException:
        client.close()
        raise
    if not chunking:
        client.esmtp_features.pop("chunking", None)
    return SMTPSession(client.wire, Extensions.offered(client.esmtp_features), config.name)
