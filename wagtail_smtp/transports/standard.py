"""Standard delivery: the project's own configuration, whatever backend that is."""

import contextlib
import logging
import smtplib
import socket
import ssl
from collections.abc import Mapping
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
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    RedirectError,
)
from wagtail_smtp.transports.availability import Availability
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.transport import hold_redirect

logger = logging.getLogger(__name__)

NAME = "standard delivery"


@dataclass(frozen=True, slots=True)
class StandardServer:
    """Where standard delivery's own SMTP server is and how it is logged in to."""

    host: str
    port: int
    encryption: Encryption
    username: str
    password: str = field(repr=False)

    @property
    def is_configured(self) -> bool:
        """Whether anybody changed Django's defaults."""
        return (self.host, self.port, self.username) != ("localhost", 25, "")


class StandardTransport:
    """Hands messages to the project's own backend, a black box. Used by one thread at a time.

    Only what proves that nothing was delivered counts as not delivered: an error while it
    opens its connection, and those in :func:`_classify`. All else leaves the outcome unknown.
    """

    name = NAME

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self.availability = Availability()
        self._overrides = dict(overrides or {})
        self._backend: BaseEmailBackend | None = None

    def prepare(self) -> BaseEmailBackend:
        """Build and open the backend; whatever it raises, no message was handed to it.

        Raises:
            MessageDeferred: it can't connect.
            Exception: it can't be built: a wrong setting, a package that is missing.
        """
        try:
            return self._opened()
        except OSError as error:
            raise _failure(MessageDeferred, error, "connect") from error

    def send(self, letter: OutgoingMessage, patience: float) -> Outcome:
        """Hand over one message; a backend that reports nothing sent has failed."""
        backend = self.prepare()
        if hasattr(backend, "build_message_payload"):  # django-anymail's
            hold_redirect(backend, letter)
        try:
            count = backend.send_messages([letter.message])
        except Exception as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, RedirectError):
                raise _classify(error) from error
            raise
        # Some backends return None, against Django's documentation; only a 0 is a no.
        if count == 0:
            raise MessageDeferred(
                "Standard delivery reports that it sent nothing.", phase="standard"
            )
        return Outcome(NAME, tuple(map(Recipient, letter.envelope.recipients)))

    def _opened(self) -> BaseEmailBackend:
        if self._backend is None:
            backend = build_backend(self._overrides)
            backend.open()
            self._backend = backend
        return self._backend

    def close(self) -> None:
        """Close the connection; what was sent stays sent, so no error leaves here."""
        if self._backend is not None:
            with contextlib.suppress(OSError):
                self._backend.close()
            self._backend = None


def _classify(error: OSError) -> AttemptFailed:
    """The kind of failure that an exception of a black box proves (SPEC 4)."""
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


#: Exceptions that can only come before a message was handed over.
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
    """A new instance of the backend that standard delivery is.

    Raises:
        ImproperlyConfigured: it isn't given where it must be, or it is this plugin.
    """
    overrides = dict(overrides or {})
    given = conf.STANDARD
    if given is None:
        if uses_mailers():
            raise ImproperlyConfigured(
                "With MAILERS, WAGTAIL_SMTP['STANDARD'] must say what standard delivery is."
            )
        # alias=None makes Django read EMAIL_HOST and its kin on every version, without
        # the deprecation warning of a direct call (django/core/mail/backends/smtp.py).
        return smtp.EmailBackend(alias=None, **overrides)
    backend_class = import_string(given["BACKEND"])
    if getattr(backend_class, "is_wagtail_smtp", False):
        raise ImproperlyConfigured("WAGTAIL_SMTP['STANDARD'] points back at wagtail-smtp itself.")
    options = {**given.get("OPTIONS", {}), **overrides}
    if uses_mailers():
        options["alias"] = "wagtail_smtp.standard"
    elif isinstance(backend_class, type) and issubclass(backend_class, smtp.EmailBackend):
        options["alias"] = None
    backend: BaseEmailBackend = backend_class(**options)
    return backend


def server() -> StandardServer | None:
    """Standard delivery's SMTP server; None where it is no SMTP or wrongly configured."""
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


def takes_envelope_sender() -> bool:
    """Whether ``from_email`` is the envelope sender; providers' APIs have one of their own."""
    return not any(kind.__module__.startswith("anymail.") for kind in type(build_backend()).__mro__)


def description() -> str:
    """Standard delivery in a few words: a host, or the backend's name."""
    found = server()
    if found is not None:
        return f"{found.host}:{found.port}"
    backend = _built()
    return "–" if backend is None else type(backend).__module__.rpartition(".")[2]


def _built() -> BaseEmailBackend | None:
    # A project's own backend may raise anything; pages that only describe it must not fail.
    try:
        return build_backend()
    except Exception as error:
        logger.warning("Standard delivery can't be used: %r", error)
        return None
