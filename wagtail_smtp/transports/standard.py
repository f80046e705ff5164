"""Standard delivery: the project's own configuration, whatever backend that is."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from wagtail_smtp.conf import conf
from wagtail_smtp.configuration import Outcome, Recipient, Security
from wagtail_smtp.exceptions import MessageDeferred
from wagtail_smtp.transports.base import Envelope, Session

NAME = "standard delivery"


@dataclass(frozen=True, slots=True)
class StandardServer:
    """Where standard delivery's own SMTP server is and how it is logged in to."""

    host: str
    port: int
    security: Security
    username: str
    password: str = field(repr=False)

    @property
    def is_configured(self) -> bool:
        """Whether anybody changed Django's defaults."""
        return (self.host, self.port, self.username) != ("localhost", 25, "")


class StandardTransport:
    """Hands messages to the project's own backend, a black box."""

    name = NAME

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._overrides = dict(overrides or {})

    def open(self) -> Session:
        """Open a connection of the project's backend; its errors are passed on as they are."""
        return StandardSession(build_backend(self._overrides))


class StandardSession:
    """An open connection of the project's backend."""

    def __init__(self, backend: BaseEmailBackend) -> None:
        self._backend = backend
        self._is_open = False

    def send(self, message: EmailMessage, envelope: Envelope) -> Outcome:
        """Hand over one message; a backend that reports nothing sent has failed."""
        if not self._is_open:
            self._backend.open()
            self._is_open = True
        # Some backends return None, against Django's documentation; only a 0 is a no.
        if self._backend.send_messages([message]) == 0:
            raise MessageDeferred(
                "Standard delivery reports that it sent nothing.", phase="standard"
            )
        return Outcome(NAME, tuple(map(Recipient, envelope.recipients)))

    def close(self) -> None:
        """Close the connection; what was sent stays sent, so no error leaves here."""
        with contextlib.suppress(OSError):
            self._backend.close()


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
    try:
        backend = build_backend()
    except (ImproperlyConfigured, ImportError, TypeError, ValueError):
        return None
    if not isinstance(backend, smtp.EmailBackend):
        return None
    security: Literal["starttls", "ssl", "none"] = "none"
    if backend.use_ssl:
        security = "ssl"
    elif backend.use_tls:
        security = "starttls"
    return StandardServer(
        host=str(backend.host or ""),
        port=int(backend.port or 25),
        security=security,
        username=str(backend.username or ""),
        password=str(backend.password or ""),
    )


def description() -> str:
    """Standard delivery in a few words: a host, or the backend's name."""
    found = server()
    if found is not None:
        return f"{found.host}:{found.port}"
    try:
        return type(build_backend()).__module__.rpartition(".")[2]
    except (ImproperlyConfigured, ImportError, TypeError, ValueError):
        return "–"
