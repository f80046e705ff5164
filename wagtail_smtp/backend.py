"""The email backend for Django."""

import threading
from collections.abc import Iterable
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from wagtail_smtp import alerts
from wagtail_smtp.categories import ALERT, ERROR
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.exceptions import StorageFull
from wagtail_smtp.live.db.connections import borrowed_connection
from wagtail_smtp.outbox.enqueue import enqueue, recorder
from wagtail_smtp.runtime import once

#: Constructor arguments that MAILERS adds and the project's backend must not get twice.
_DJANGOS_OWN = ("alias", "_ignore_unknown_kwargs")

#: What describes a server, as in Django's SMTP backend. Django judges anything else.
_OF_A_SERVER = frozenset(
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

    ``category`` names the category of all mail of this mailer and ``delivery`` how it is
    delivered, ``immediate`` or ``queued`` (MAILERS ``OPTIONS``; else
    ``WAGTAIL_SMTP["DELIVERY"]``). All other arguments describe the project's own server, as in
    Django's SMTP backend, and matter to standard delivery alone. None counts as not given, since
    Wagtail passes ``username=None`` (wagtail/admin/mail.py).
    """

    #: Tells checks and standard delivery that this is the plugin, in subclasses too.
    is_wagtail_smtp = True

    def __init__(
        self,
        fail_silently: bool | None = False,
        *,
        category: str | None = None,
        delivery: str | None = None,
        **kwargs: Any,
    ) -> None:
        own = {name: kwargs.pop(name) for name in _DJANGOS_OWN if name in kwargs}
        overrides = {name: value for name, value in kwargs.items() if value is not None}
        unknown = {name: overrides[name] for name in overrides.keys() - _OF_A_SERVER}
        # From 6.1 on, Django refuses unknown options or warns about them.
        super().__init__(**own, **dict(sorted(unknown.items())))
        self.alias = own.get("alias")
        self.fail_silently = bool(fail_silently)
        self._line = DeliveryPipeline(category, overrides, recorder())
        # Arguments for the project's own backend may be secrets, and those aren't stored.
        self._queues = (delivery or conf.DELIVERY) == "queued" and not overrides
        self._lock = threading.RLock()
        self._stays_open = False

    def open(self) -> bool:
        """Keep sessions open between calls until :meth:`close`; connects with the first message.

        It can't fail: which server to connect to is known when there is a message, and
        Wagtail's ``OpenedConnection`` would swallow the error.
        """
        was_open, self._stays_open = self._stays_open, True
        return not was_open

    def close(self) -> None:
        """Close the sessions kept open."""
        with self._lock:
            self._stays_open = False
            self._line.close()

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Send or queue the messages one after the other and return how many that were.

        Without ``fail_silently`` the first error ends the batch, as in Django.

        Raises:
            EmailDeliveryError: or what the project's own backend raises.
            ValueError: a message can't be written down; also with ``fail_silently``.
        """
        once.notice()
        sent = 0
        with self._lock, borrowed_connection():
            self._line.begin()
            try:
                for message in email_messages or ():
                    try:
                        sent += self._send(message)
                    except OSError:  # SMTPException and all errors of ours are OSErrors
                        if not self.fail_silently:
                            raise
            finally:
                if not self._stays_open:
                    self._line.close()
        return sent

    def _send(self, message: EmailMessage) -> bool:
        if not self._queues:
            return self._line.deliver(message)
        classification = self._line.classify(message)
        try:
            return enqueue(message, classification) is not None
        except StorageFull:
            # What tells of it must not need room itself.
            if classification.category not in (ALERT, ERROR):
                raise
        finally:
            if classification.category != ALERT:
                alerts.send_pending()
        return self._line.deliver(message, classification)
