"""An SMTP session: sends messages one after another over one connection."""

import math
import ssl
import time

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Recipient, TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, EmailDeliveryError
from wagtail_smtp.runtime import tracing
from wagtail_smtp.transports import tls
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.transports.smtp.connect import Connector
from wagtail_smtp.transports.smtp.fast_sending import FastSending, Probe, ProbeResult
from wagtail_smtp.transports.smtp.stream import SMTPStream
from wagtail_smtp.transports.smtp.transaction import Extensions, Transaction


class SMTPSession:
    """An open session, logged in where configured. Used by one thread at a time."""

    def __init__(
        self, stream: SMTPStream, extensions: Extensions, name: str, fast: FastSending | None = None
    ) -> None:
        self._stream = stream
        self._extensions = extensions
        self._name = name
        self._fast = fast or FastSending(name)
        self._probe: Probe | None = None
        self._needs_reset = False
        #: Whether extensions may have caused the last failure; they aren't used again.
        self.should_retry = False
        #: Whether a failure makes the session unusable.
        self.is_broken = False
        #: Number of messages so far.
        self.messages = 0
        #: Monotonic times of the last use and of the expiry.
        self.used_at = time.monotonic()
        self.expires_at = math.inf

    def send(
        self, envelope: Envelope, content: bytes, reply_timeout: float
    ) -> tuple[tuple[Recipient, ...], str]:
        """Send one message; see :meth:`Transaction.run`.

        Args:
            reply_timeout: seconds to wait for the reply to the whole message.
        """
        offers = self._fast.usable(self._extensions)
        transaction = Transaction(self._stream, offers, self._name, reply_timeout)
        is_fresh = time.monotonic() - self.used_at <= conf.SESSION_CHECK_AFTER
        try:
            result = transaction.run(
                envelope,
                content,
                one_write=offers.chunking and is_fresh,
                # After a pause, begin with a command that may fail without consequences.
                reset=self._needs_reset or not is_fresh,
            )
        except AttemptFailed as error:
            is_alive = transaction.is_answered or not self.messages
            self.should_retry = self._fast.disable_after(error, offers, is_alive=is_alive)
            # A new session may have a different result, so this one isn't kept.
            self.is_broken = self.messages > 0 and is_before_acceptance(error)
            raise
        except BaseException as error:
            # After an interruption it is unknown which replies are still to come.
            self.is_broken = not isinstance(error, EmailDeliveryError)
            raise
        else:
            if offers.chunking:
                self._fast.chunks_accepted()
            elif transaction.in_step:
                self._begin_probe()
            return result
        finally:
            self._needs_reset = not transaction.is_finished
            self.is_broken = self.is_broken or not transaction.in_step
            self.messages += 1
            self.used_at = time.monotonic()

    def _begin_probe(self) -> None:
        """Send a probe after a message's final reply, without waiting for its replies."""
        if self.messages + 1 >= conf.SESSION_MAX_MESSAGES:
            return  # the session is closed after this message
        probe = self._fast.probe(self._stream, self._extensions)
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
        """Evaluate the probe; return whether the session is still usable.

        Args:
            wait: wait for the replies, or use only those already received.
        """
        if self._probe is None:
            return True
        probe, self._probe = self._probe, None
        left = probe.left
        result: ProbeResult | None = probe.read(max(left, 0) if wait else 0)
        is_overdue = wait or left <= 0
        self._fast.probed(probe, None if result == "silent" and not is_overdue else result)
        return result == "passed"

    def is_usable(self) -> bool:
        """Whether this session can send the next message: no failure, no unread data."""
        return not self.is_broken and self._end_probe(wait=True) and self._stream.is_silent()

    def close(self) -> None:
        """Send QUIT and close the socket without waiting for the reply; never raises."""
        self._end_probe(wait=False)
        self._stream.quit()

    def abandon(self) -> None:
        """Close the descriptor without sending anything, after a fork."""
        self._stream.close()


@sensitive_variables()
def open_session(
    config: TransportConfig, context: ssl.SSLContext | None, fast: FastSending
) -> SMTPSession:
    """Connect, encrypt and log in.

    Args:
        context: None without encryption.
        fast: what this process knows about the server's extensions.

    Raises:
        MessageDeferred: the server could not be reached or refused the session.
        DestinationRefused: connecting to this address is not allowed.
    """
    client = Connector(config, context)
    began = time.monotonic()
    try:
        for stage in client.steps():
            began = _ended(stage, began, config)
    except BaseException as error:
        _ended(client.at, began, config, error)
        client.close()
        raise
    if context is not None:
        tls.remember(config.host, config.port, client.sock)
    offered = Extensions.offered(client.esmtp_features, config.ignored_extensions)
    return SMTPSession(client.stream, offered, config.name, fast)


def _ended(
    stage: str, began: float, config: TransportConfig, error: BaseException | None = None
) -> float:
    """Record a stage that has just ended; return when the next one begins."""
    now = time.monotonic()
    tracing.record(stage, now - began, config.name, config.host, config.port, error)
    return now


def is_before_acceptance(error: AttemptFailed) -> bool:
    """Whether the failure came before the server had accepted any recipient.

    On a reused session, the session may be the cause: a limit of messages or recipients, an
    expired login, a connection that died unnoticed.
    """
    if not error.retry_is_safe or error.phase == "size":
        return False
    return error.code in (0, 421) or error.phase in ("reset", "mail", "rcpt")
