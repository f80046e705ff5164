"""One SMTP session: opened by a client, it hands over messages one by one."""

import math
import ssl
import time

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Recipient, TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, EmailDeliveryError
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.transports.smtp.connect import Connector
from wagtail_smtp.transports.smtp.extensions import Extensions
from wagtail_smtp.transports.smtp.fast_sending import FastSending, Probe, Verdict
from wagtail_smtp.transports.smtp.stream import SMTPStream
from wagtail_smtp.transports.smtp.transaction import Transaction


class SMTPSession:
    """An open session, logged in where configured. Used by one thread at a time."""

    def __init__(
        self, wire: SMTPStream, extensions: Extensions, name: str, fast: FastSending | None = None
    ) -> None:
        self._wire = wire
        self._extensions = extensions
        self._name = name
        self._fast = fast or FastSending(name)
        self._probe: Probe | None = None
        self._needs_reset = False
        #: Whether the last failure may be the fault of extensions, which aren't used again.
        self.is_worth_repeating = False
        #: Whether something failed so that no message may follow.
        self.is_broken = False
        #: Messages handed over so far.
        self.messages = 0
        #: Monotonic times: of the last use, and after which it is not used again.
        self.used_at = time.monotonic()
        self.expires_at = math.inf

    def send(
        self, envelope: Envelope, content: bytes, reply_timeout: float
    ) -> tuple[tuple[Recipient, ...], str]:
        """Hand over one message; see :meth:`Exchange.run`.

        Args:
            reply_timeout: seconds to wait for the reply to the whole message.
        """
        offers = self._fast.usable(self._extensions)
        exchange = Transaction(self._wire, offers, self._name, reply_timeout)
        is_fresh = time.monotonic() - self.used_at <= conf.ONE_WRITE_WITHIN
        try:
            result = exchange.run(
                envelope,
                content,
                one_write=offers.chunking and is_fresh,
                # An old session's first command must be one that costs nothing if it fails.
                reset=self._needs_reset or not is_fresh,
            )
        except AttemptFailed as error:
            is_alive = exchange.is_answered or not self.messages
            self.is_worth_repeating = self._fast.is_to_blame(error, offers, is_alive=is_alive)
            # Another session may think otherwise, so this one isn't worth keeping.
            self.is_broken = self.messages > 0 and is_before_acceptance(error)
            raise
        except BaseException as error:
            # Interrupted at any point, nobody knows which replies are still to come.
            self.is_broken = not isinstance(error, EmailDeliveryError)
            raise
        else:
            if offers.chunking:
                self._fast.took_chunks()
            elif exchange.in_step:
                self._begin_probe()
            return result
        finally:
            self._needs_reset = not exchange.is_finished
            self.is_broken = self.is_broken or not exchange.in_step
            self.messages += 1
            self.used_at = time.monotonic()

    def _begin_probe(self) -> None:
        """Ask what the server does, behind a message that is answered; its caller doesn't wait."""
        if self.messages + 1 >= conf.SESSION_MAX_MESSAGES:
            return  # it is closed now
        probe = self._fast.probe(self._wire, self._extensions)
        if probe is None:
            return
        try:
            probe.write()
        except OSError:
            self.is_broken = True
            self._fast.probed(probe, None)
        else:
            self._probe = probe

    def _end_probe(self, *, wait: bool) -> bool:
        """Take note of what the probe showed; whether the session can go on.

        Args:
            wait: until the replies have come or are overdue; otherwise those that are here count.
        """
        if self._probe is None:
            return True
        probe, self._probe = self._probe, None
        left = probe.left
        verdict: Verdict | None = probe.read(max(left, 0) if wait else 0)
        is_overdue = wait or left <= 0
        self._fast.probed(probe, None if verdict == "silent" and not is_overdue else verdict)
        return verdict == "passed"

    def is_usable(self) -> bool:
        """Whether the next message may go over this session: nothing failed, nothing waits."""
        return not self.is_broken and self._end_probe(wait=True) and self._wire.is_silent()

    def close(self) -> None:
        """Say goodbye without waiting for the answer, and close the socket; never raises."""
        self._end_probe(wait=False)
        self._wire.say_goodbye()

    def abandon(self) -> None:
        """Close the descriptor without a word: after a fork the session is the parent's."""
        self._wire.close()


@sensitive_variables()
def open_session(
    config: TransportConfig, context: ssl.SSLContext | None, fast: FastSending
) -> SMTPSession:
    """Connect, encrypt and log in.

    Args:
        context: None where nothing is encrypted.
        fast: what is known of the server's extensions.

    Raises:
        MessageDeferred: the server couldn't be reached or didn't let us in.
        DestinationRefused: the address may not be connected to.
    """
    client = Connector(config, context)
    try:
        for _stage in client.steps():
            pass
    except BaseException:
        client.close()
        raise
    offered = Extensions.offered(client.esmtp_features, config.ignored_extensions)
    return SMTPSession(client.wire, offered, config.name, fast)


def is_before_acceptance(error: AttemptFailed) -> bool:
    """Whether a session failed, or refused, before the server had accepted any recipient.

    On a session that was used before, that may be about the session: a limit of messages or
    recipients, a login that has ended, a connection that died unnoticed.
    """
    if not error.retry_is_safe or error.phase == "size":
        return False
    return error.code in (0, 421) or error.phase in ("reset", "mail", "rcpt")
