"""The SMTP transport: pooled sessions, limited recipients per transaction, safe retries."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Outcome, Recipient, TransportConfig
from wagtail_smtp.exceptions import (
    AttemptFailed,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
)
from wagtail_smtp.runtime import tracing
from wagtail_smtp.transports.base import Envelope, OutgoingMessage, Stage
from wagtail_smtp.transports.pool import PooledTransport
from wagtail_smtp.transports.smtp.check import check
from wagtail_smtp.transports.smtp.fast_sending import FastSending
from wagtail_smtp.transports.smtp.session import SMTPSession, is_before_acceptance, open_session


class SMTPTransport(PooledTransport[SMTPSession]):
    """Sends messages through one server. Shared by all threads of a process."""

    config: TransportConfig
    keeps_envelope_sender = True

    def __init__(self, config: TransportConfig) -> None:
        self._fast = FastSending(config.name)
        super().__init__(config)

    def _open(self) -> SMTPSession:
        context = None if self.config.encryption == "none" else self._context("smtp")
        return open_session(self.config, context, self._fast)

    def after_fork(self) -> None:
        """Replace locks and sessions in a forked child: they belong to the parent."""
        self._fast.after_fork()
        super().after_fork()

    @sensitive_variables()
    def check(self, sender: str = "", outgoing: OutgoingMessage | None = None) -> Iterator[Stage]:
        """See :meth:`wagtail_smtp.transports.base.Transport.check`."""
        return check(self.config, sender, outgoing)

    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome:
        """Send one message; see :meth:`wagtail_smtp.transports.base.Transport.send`."""
        settled: list[Recipient] = []
        waiting = list(outgoing.envelope.recipients)
        failures: list[AttemptFailed] = []
        response = ""
        limit = conf.MAX_RECIPIENTS
        while waiting:
            part, waiting = waiting[:limit], waiting[limit:]
            try:
                envelope = Envelope(outgoing.envelope.sender, tuple(part))
                answered, response = self._transaction(envelope, outgoing.content, reply_timeout)
            except AttemptFailed as error:
                failures.append(error)
                settled += _states(part, error)
                if error.phase != "rcpt":
                    # The next transaction would fail in the same way.
                    settled += _not_tried(waiting, error)
                    break
                continue
            too_many = [item.address for item in answered if _is_too_many(item)]
            settled += [item for item in answered if item.address not in too_many]
            waiting = too_many + waiting
        return self._result(settled, failures, response)

    def _result(
        self, settled: Sequence[Recipient], failures: Sequence[AttemptFailed], response: str
    ) -> Outcome:
        unknown = next((e for e in failures if isinstance(e, MessageOutcomeUnknown)), None)
        if unknown is None and any(item.state == "sent" for item in settled):
            return Outcome(self.name, tuple(settled), response)
        # A temporary failure takes precedence: a retry may still succeed.
        deferred = next((e for e in failures if isinstance(e, MessageDeferred)), None)
        error = unknown or deferred or failures[0]
        error.recipients = tuple(settled)
        raise error

    def _transaction(
        self, envelope: Envelope, content: bytes, reply_timeout: float
    ) -> tuple[tuple[Recipient, ...], str]:
        """Run one transaction; retry over a new session if nothing was accepted.

        Retries once if the session was reused, because its state may be the cause, and once for
        each extension that turns out not to work.
        """
        new = False
        while True:
            session: SMTPSession | None = None
            is_reused = False
            try:
                with (
                    self.pool.lease(new=new) as (session, is_reused),
                    tracing.operation("send", self.name, self.config.host, self.config.port),
                ):
                    return session.send(envelope, content, reply_timeout)
            except AttemptFailed as error:
                if not error.retry_is_safe:
                    raise
                if _is_throttled(error) and self.pool.shrink(opening=session is None):
                    new = False
                elif (session is not None and session.should_retry) or (
                    is_reused and not new and is_before_acceptance(error)
                ):
                    new = True
                else:
                    raise


def _is_throttled(error: AttemptFailed) -> bool:
    """Whether the server reports too many sessions or a rate limit."""
    if error.code == 454:
        return error.reply.startswith("4.7.")
    return error.code in (421, 432)


#: Enhanced codes of a 452 that are about one mailbox (RFC 3463 3.3).
_MAILBOX = re.compile(r"4\.2\.")


def _is_too_many(item: Recipient) -> bool:
    """Whether the server wants this recipient in another transaction (RFC 5321 4.5.3.1.10)."""
    return item.state == "deferred" and item.code == 452 and not _MAILBOX.match(item.reply)


def _states(addresses: Sequence[str], error: AttemptFailed) -> list[Recipient]:
    if error.recipients:
        return list(error.recipients)
    state: Literal["refused", "deferred", "unknown"] = "deferred"
    if isinstance(error, MessageOutcomeUnknown):
        state = "unknown"
    elif isinstance(error, MessageRefused):
        state = "refused"
    return [Recipient(a, state, error.code, error.reply, error.phase) for a in addresses]


def _not_tried(addresses: Sequence[str], error: AttemptFailed) -> list[Recipient]:
    """States of recipients without a transaction: those of the failed one, or deferred."""
    if isinstance(error, MessageOutcomeUnknown):
        return [Recipient(address, "deferred", phase="pool") for address in addresses]
    return _states(addresses, error)
