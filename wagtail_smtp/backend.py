"""The email backend for Django."""

import threading
from collections.abc import Iterable
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from wagtail_smtp import alerts
from wagtail_smtp.alerts.email import AlertEmail
from wagtail_smtp.categories import ALERT, ERROR
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.exceptions import StorageFull
from wagtail_smtp.live.db.connections import borrowed_connection
from wagtail_smtp.outbox.enqueue import enqueue, record_or_retry
from wagtail_smtp.runtime import process

#: Arguments that Django's MAILERS adds. The project's own backend must not get them twice.
_FROM_MAILERS = ("alias", "_ignore_unknown_kwargs")

#: Arguments of Django's SMTP backend that describe the server. Django checks all others.
_SERVER_OPTIONS = frozenset(
    {
        "host",
        "port",
        "username",
        "password",
        "use_tls",
        "use_ssl",
        "timeout",
        "ssl_keyfile",
        "ssl_certfile",
    }
)


class EmailBackend(BaseEmailBackend):
    """Sends each message as the live configuration says.

    Args:
        category: of all email of this mailer (MAILERS ``OPTIONS``).
        delivery: ``immediate`` or ``queued``; default: ``WAGTAIL_SMTP["DELIVERY"]``.
        kwargs: the project's own server, as in Django's SMTP backend; only standard delivery
            uses them. None counts as not given, because Wagtail passes ``username=None``
            (wagtail/admin/mail.py).
    """

    #: Lets checks and standard delivery recognise this backend, including subclasses.
    is_wagtail_smtp = True

    def __init__(
        self,
        fail_silently: bool | None = False,
        *,
        category: str | None = None,
        delivery: str | None = None,
        **kwargs: Any,
    ) -> None:
        own = {name: kwargs.pop(name) for name in _FROM_MAILERS if name in kwargs}
        overrides = {name: value for name, value in kwargs.items() if value is not None}
        unknown = {name: overrides[name] for name in overrides.keys() - _SERVER_OPTIONS}
        # From 6.1 on, Django refuses unknown options or warns about them.
        super().__init__(**own, **dict(sorted(unknown.items())))
        self.alias = own.get("alias")
        self.fail_silently = bool(fail_silently)
        self._pipeline = DeliveryPipeline(category, overrides, record_or_retry)
        # Arguments for the project's own backend may be secrets, which the outbox doesn't store.
        self._is_queued = (delivery or conf.DELIVERY) == "queued" and not overrides
        self._lock = threading.RLock()
        self._keep_open = False

    def open(self) -> bool:
        """Keep sessions open between calls until :meth:`close`.

        The first message connects, because only a message decides which server to use. So this
        can't fail; Wagtail's ``OpenedConnection`` would ignore the error.
        """
        was_open, self._keep_open = self._keep_open, True
        return not was_open

    def close(self) -> None:
        """Close the sessions kept open."""
        with self._lock:
            self._keep_open = False
            self._pipeline.close()

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Send or queue the messages one after the other, and return their number.

        Without ``fail_silently`` the first error ends the batch, as in Django.

        Raises:
            EmailDeliveryError: or what the project's own backend raises.
            ValueError: a message can't be serialised; raised even with ``fail_silently``.
        """
        process.detect_fork()
        sent = 0
        with self._lock, borrowed_connection():
            self._pipeline.begin()
            try:
                for message in email_messages or ():
                    try:
                        sent += self._send(message)
                    except OSError:  # includes SMTPException and all errors of the plugin
                        if not self.fail_silently:
                            raise
            finally:
                if not self._keep_open:
                    self._pipeline.close()
        return sent

    def _send(self, message: EmailMessage) -> bool:
        # The outbox may be what an alert reports.
        if not self._is_queued or isinstance(message, AlertEmail):
            return self._pipeline.deliver(message)
        classification = self._pipeline.classify(message)
        try:
            return enqueue(message, classification) is not None
        except StorageFull:
            # The email about it can't be stored either, so it is sent immediately.
            if classification.category not in (ALERT, ERROR):
                raise
        finally:
            if classification.category != ALERT:
                alerts.send_pending()
        return self._pipeline.deliver(message, classification)
