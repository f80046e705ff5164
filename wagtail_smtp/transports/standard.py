"""Standard delivery: the email backend that the project's own settings configure."""

import contextlib
import logging
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends import smtp
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Encryption, Outcome, Recipient
from wagtail_smtp.exceptions import (
    AttemptFailed,
    EmailDeliveryError,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    RedirectError,
)
from wagtail_smtp.transports.base import (
    LONGEST_CHECK,
    Availability,
    OutgoingMessage,
    Stage,
    StageTimer,
    Transport,
)
from wagtail_smtp.transports.esp.transport import enforce_redirect

logger = logging.getLogger(__name__)

NAME = "standard delivery"


@dataclass(frozen=True, slots=True)
class StandardServer:
    """Address and credentials of standard delivery's SMTP server."""

    host: str
    port: int
    encryption: Encryption
    username: str
    password: str = field(repr=False)

    @property
    def is_configured(self) -> bool:
        """Whether the project changed Django's defaults."""
        return (self.host, self.port, self.username) != ("localhost", 25, "")


class StandardTransport(Transport):
    """Sends messages through the project's own backend. Used by one thread at a time.

    The backend is a black box. Only errors that prove non-delivery count as such: those raised
    while opening the connection, and those in :func:`_classify`. After any other error the
    outcome is unknown.
    """

    name = NAME
    is_black_box = True
    encodes_addresses = True

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self.availability = Availability()
        self._overrides = dict(overrides or {})
        self._backend: BaseEmailBackend | None = None

    @property
    def supports_merge_data(self) -> bool:  # type: ignore[override]
        """Whether the backend may fill in templates: Django's SMTP backend doesn't."""
        return server() is None

    @property
    def uses_from_email_as_sender(self) -> bool:  # type: ignore[override]
        """Whether ``from_email`` becomes the envelope sender; email providers choose their own."""
        kinds = type(build_backend()).__mro__
        return not any(kind.__module__.startswith("anymail.") for kind in kinds)

    def prepare(self, outgoing: OutgoingMessage) -> None:
        """Build and open the backend, which serialises the message itself.

        Raises:
            MessageDeferred: it can't connect.
            Exception: it can't be built, for example because of a wrong setting.
        """
        self._opened()

    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome:
        """Send one message. A backend that returns 0 has failed."""
        backend = self._opened()
        if hasattr(backend, "build_message_payload"):  # django-anymail's
            enforce_redirect(backend, outgoing)
        try:
            count = backend.send_messages([outgoing.message])
        except Exception as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, RedirectError):
                raise _classify(error) from error
            raise
        # Some backends return None, against Django's documentation: only 0 is a failure.
        if count == 0:
            raise MessageDeferred(
                "Standard delivery reported that it sent no message.", phase="standard"
            )
        return Outcome(NAME, tuple(map(Recipient, outgoing.envelope.recipients)))

    def check(self, sender: str = "", outgoing: OutgoingMessage | None = None) -> Iterator[Stage]:
        """See :meth:`wagtail_smtp.transports.base.Transport.check`; ``sender`` is not used."""
        timer = StageTimer("connect")
        try:
            self._opened()
            yield timer.passed()
            if outgoing is not None:
                timer.begin("message")
                self.send(outgoing, LONGEST_CHECK)
                yield timer.passed()
        except EmailDeliveryError as error:
            yield timer.failed(error)
        except Exception as error:  # a project's own backend can raise anything
            phase = "connect" if timer.at == "connect" else "standard"
            text = f"{NAME}: {type(error).__name__}"
            yield timer.failed(MessageDeferred(text, phase=phase, original=error))
        finally:
            self.close()

    def _opened(self) -> BaseEmailBackend:
        if self._backend is None:
            backend = build_backend(self._overrides)
            try:
                backend.open()
            except OSError as error:
                raise _failure(MessageDeferred, error, "connect") from error
            self._backend = backend
        return self._backend

    def close(self) -> None:
        """Close the connection, ignoring errors: they don't concern messages already sent."""
        if self._backend is not None:
            with contextlib.suppress(OSError):
                self._backend.close()
            self._backend = None


def _classify(error: OSError) -> AttemptFailed:
    """Return the failure that an exception from the backend proves."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _reply in error.recipients.values()]
        for_good = all(code >= 500 for code in codes)
        return _failure(MessageRefused if for_good else MessageDeferred, error, "rcpt")
    if isinstance(error, smtplib.SMTPDataError):
        for_good = error.smtp_code >= 500
        return _failure(MessageRefused if for_good else MessageDeferred, error, "data")
    for proof, phase in _PROOFS.items():
        if isinstance(error, proof):
            return _failure(MessageDeferred, error, phase)
    return _failure(MessageOutcomeUnknown, error, "standard")


#: Exceptions that are only raised before the message is sent.
_PROOFS: dict[type[OSError], str] = {
    smtplib.SMTPConnectError: "connect",
    smtplib.SMTPHeloError: "ehlo",
    smtplib.SMTPAuthenticationError: "auth",
    smtplib.SMTPNotSupportedError: "ehlo",
    smtplib.SMTPSenderRefused: "mail",
    ConnectionRefusedError: "connect",
    socket.gaierror: "connect",
    ssl.SSLCertVerificationError: "tls",
}


def _failure(kind: type[AttemptFailed], error: OSError, phase: str) -> AttemptFailed:
    return kind(
        f"{NAME}: {type(error).__name__}",
        phase=phase,
        code=int(getattr(error, "smtp_code", 0) or 0),
        original=error,
    )


def uses_mailers() -> bool:
    """Whether the project has opted into Django's MAILERS (6.1 and later)."""
    return django.VERSION >= (6, 1) and hasattr(settings, "MAILERS")


def build_backend(overrides: Mapping[str, Any] | None = None) -> BaseEmailBackend:
    """Return a new instance of standard delivery's backend.

    Raises:
        ImproperlyConfigured: the setting is missing, or names this plugin's backend.
    """
    overrides = dict(overrides or {})
    given = conf.STANDARD
    if given is None:
        if uses_mailers():
            raise ImproperlyConfigured(
                "If you use MAILERS, set WAGTAIL_SMTP['STANDARD'] to the backend to use as "
                "standard delivery."
            )
        # With alias=None Django reads the EMAIL_* settings on every version, without the
        # deprecation warning of a direct call (django/core/mail/backends/smtp.py).
        return smtp.EmailBackend(alias=None, **overrides)
    backend_class = import_string(given["BACKEND"])
    if getattr(backend_class, "is_wagtail_smtp", False):
        raise ImproperlyConfigured(
            "WAGTAIL_SMTP['STANDARD'] must not be wagtail-smtp's own backend."
        )
    options = {**given.get("OPTIONS", {}), **overrides}
    if uses_mailers():
        options["alias"] = "wagtail_smtp.standard"
    elif isinstance(backend_class, type) and issubclass(backend_class, smtp.EmailBackend):
        options["alias"] = None
    backend: BaseEmailBackend = backend_class(**options)
    return backend


def server() -> StandardServer | None:
    """Standard delivery's SMTP server; None if it isn't SMTP or is misconfigured."""
    backend = _built()
    if not isinstance(backend, smtp.EmailBackend):
        return None
    encryption: Literal["starttls", "ssl", "none"] = "none"
    if backend.use_ssl:
        encryption = "ssl"
    elif backend.use_tls:
        encryption = "starttls"
    return StandardServer(
        host=str(backend.host or ""),
        port=int(backend.port or 25),
        encryption=encryption,
        username=str(backend.username or ""),
        password=str(backend.password or ""),
    )


def description() -> str:
    """A short description of standard delivery: a host and port, or the backend's module."""
    found = server()
    if found is not None:
        return f"{found.host}:{found.port}"
    backend = _built()
    return "–" if backend is None else type(backend).__module__.rpartition(".")[2]


def _built() -> BaseEmailBackend | None:
    # A project's backend may raise anything, but pages that only describe it must not fail.
    try:
        return build_backend()
    except Exception as error:
        logger.warning("Could not build standard delivery's backend: %r", error)
        return None
