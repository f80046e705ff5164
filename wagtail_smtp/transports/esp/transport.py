"""A provider as a transport: its backend of django-anymail, over guarded connections.

django-anymail is imported when the first message is sent: without it a set can't be used, and
all else works.
"""

import logging
import math
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_host
from wagtail_smtp.config.values import Outcome
from wagtail_smtp.exceptions import TransportUnavailable
from wagtail_smtp.transports import registry
from wagtail_smtp.transports.availability import Availability
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.catalog import INSTALL, METADATA
from wagtail_smtp.transports.esp.config import ESPConfig
from wagtail_smtp.transports.pool import Pool
from wagtail_smtp.transports.smtp.tls import shared_context

logger = logging.getLogger(__name__)

#: Metadata that every provider takes; Postmark and Unisender Go have the lowest limit.
_MOST_METADATA = 10
#: Headers by which some providers are given metadata: what a caller wrote there stays.
_METADATA_HEADERS = frozenset({"x-metadata", "x-mailin-custom", "x-mailgun-variables"})
#: With these a provider makes the message by other rules, and may be given metadata otherwise.
_STEERING = (
    *("template_id", "merge_data", "merge_global_data", "merge_metadata", "merge_headers"),
    "esp_extra",
)


class AnymailTransport:
    """Hands messages to one provider. Shared by all threads of a process."""

    def __init__(self, config: ESPConfig) -> None:
        self.config = config
        self.name = config.name
        self.availability = Availability()
        self._ssl_context: ssl.SSLContext | None = None
        self._context_lock = threading.Lock()
        # Until it is closed it stays for the process's end to find; then it goes at once.
        self._itself: AnymailTransport | None = self
        this = weakref.proxy(self)
        self._pool: Pool[AnymailSession] = Pool(lambda: this._open(), config.name)
        registry.register(self)

    @sensitive_variables()
    def _open(self) -> "AnymailSession":
        with self._context_lock:
            if self._ssl_context is None:
                self._ssl_context = shared_context("http", self.config.ca_certificates)
        return AnymailSession(self.config, self._ssl_context)

    def close(self) -> None:
        """Close idle sessions now, and those in use when their message is through."""
        self._pool.retire()
        self._ssl_context = self._itself = None

    def after_fork(self) -> None:
        """In the child: leave the parent's sessions alone, and its threads' locks behind."""
        self._context_lock = threading.Lock()
        self.availability.after_fork()
        self._pool.after_fork()

    @sensitive_variables()
    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome:
        """Hand over one message; see :class:`wagtail_smtp.transports.base.Transport`."""
        with self._pool.lease() as (session, _is_reused):
            result = session.send(outgoing, reply_timeout)
        if isinstance(result, Outcome):
            return result
        # Raised out here: django-anymail's frames, and its errors, hold the keys.
        raise result


class AnymailSession:
    """A provider's backend with its connection. Used by one thread at a time."""

    @sensitive_variables()
    def __init__(self, config: ESPConfig, context: ssl.SSLContext) -> None:
        self._config = config
        try:
            from wagtail_smtp.transports.http import Adapter

            self._adapter = Adapter(context, config.timeout)
            self._backend = _backend(config)
            self._backend.open()
        except ImportError:
            raise TransportUnavailable(
                f"{config.name}: django-anymail is missing; a developer installs it: {INSTALL}",
                phase="connect",
            ) from None
        except ImproperlyConfigured as error:
            # Its words may hold a key; the kind of error says enough.
            raise TransportUnavailable(
                f"{config.name}: django-anymail can't be set up ({type(error).__name__}).",
                phase="connect",
            ) from None
        _route_through(self._backend, self._adapter)
        self.is_broken = False
        self.messages = 0
        self.used_at = time.monotonic()
        self.expires_at = math.inf

    @sensitive_variables()
    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome | Exception:
        """Hand over one message.

        Returns:
            What came of it, or the error that says so; without anything of django-anymail's.
        """
        from wagtail_smtp.transports.esp.errors import classify_error

        message, adapter = outgoing.message, self._adapter
        if time.monotonic() - self.used_at > conf.ONE_WRITE_WITHIN:
            # An older connection may have died unnoticed; written into, nobody could tell
            # whether the message was taken.
            adapter.forget()
        adapter.reply_timeout = reply_timeout
        adapter.progress.begin()
        _leave_out_fixed_headers(message, self._config)
        enforce_redirect(self._backend, outgoing)
        error: Exception | None = None
        count = 0
        self.is_broken = True  # unless it is known below how it ended
        try:
            with _named(message, outgoing.key, self._config):
                count = self._backend.send_messages([message])
        except Exception as caught:  # receivers of django-anymail's signals raise what they like
            error = caught
        self.messages += 1
        self.used_at = time.monotonic()
        result = classify_error(self._config, outgoing, adapter.progress, count, error)
        self.is_broken = adapter.progress.at not in ("", "done")
        _forget_request(message)
        return result

    def is_usable(self) -> bool:
        """Whether the next message may go over this session."""
        return not self.is_broken

    def close(self) -> None:
        """Close the connection; never raises."""
        self._adapter.close()

    def abandon(self) -> None:
        """After a fork: the connection is the parent's. Closing says nothing over it."""
        sock = self._adapter.progress.sock
        if sock is not None:
            sock.close()


@sensitive_variables()
def _backend(config: ESPConfig) -> Any:
    """The provider's backend.

    Raises:
        ImportError: django-anymail, or what it needs for this provider, is missing.
    """
    provider = config.provider
    # Each option there is: what is not given would be taken from the project's ANYMAIL setting.
    arguments: dict[str, Any] = {
        "alias": f"wagtail_smtp.{config.slug}",
        "ignore_unsupported_features": False,
        "ignore_recipient_status": False,
        "debug_api_requests": False,
        "send_defaults": {},
        "idna_encoder": ascii_host,
        **provider.fixed,
    }
    given: Mapping[str, str] = {**config.options, **config.secrets}
    for option in provider.options:
        arguments[option.name] = given.get(option.name) or option.default or None
    if config.slug == "amazon_ses":
        from wagtail_smtp.transports.esp.ses import parameters

        arguments |= parameters(arguments, config.url)
    else:
        arguments |= {"api_url": config.url, "timeout": config.timeout}
    backend = import_string(provider.backend)(**arguments)
    # The one option that no argument stands over: it can add recipients.
    backend.send_defaults = {}
    return backend


def _route_through(backend: Any, adapter: Any) -> None:
    """Let the opened backend connect by ``adapter`` alone."""
    if hasattr(backend, "session"):
        from wagtail_smtp.transports.http import guarded

        guarded(backend.session, adapter)
    else:
        from wagtail_smtp.transports.esp.ses import send_by

        send_by(backend.client, adapter)


def enforce_redirect(backend: Any, outgoing: OutgoingMessage) -> None:
    """Let a backend of django-anymail refuse what its receivers took out of the redirect.

    They are called after the message was redirected, and may change it.
    """
    build = type(backend).build_message_payload

    def build_message_payload(message: EmailMessage, defaults: Any) -> Any:
        if outgoing.check_redirect is None:
            return build(backend, message, defaults)
        outgoing.check_redirect(message)
        # A project's SEND_DEFAULTS may name more recipients.
        return build(backend, message, {})

    backend.build_message_payload = build_message_payload


def _leave_out_fixed_headers(message: EmailMessage, config: ESPConfig) -> None:
    """Providers make their own Date and Message-ID; some refuse others, or send both."""
    if config.slug == "amazon_ses":
        return  # it is handed the whole message as it is written
    for name in getattr(message, "wagtail_smtp_fixed", ()):
        message.extra_headers.pop(name, None)


@contextmanager
def _named(message: EmailMessage, key: str, config: ESPConfig) -> Iterator[None]:
    """Send the key of the message's entry along, if the provider returns it in its reports.

    By it they find their entry even if the provider's answer, with its own name of the message,
    was lost. The caller's metadata stay as they are.
    """
    own = getattr(message, "metadata", None)
    if not key or not _may_be_named(message, own, config):
        yield
        return
    had = "metadata" in vars(message)
    message.metadata = {**(own or {}), METADATA: key}  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del message.metadata  # type: ignore[attr-defined]
        if had:
            message.metadata = own  # type: ignore[attr-defined]


def _may_be_named(message: EmailMessage, own: Any, config: ESPConfig) -> bool:
    """Whether one more of the metadata takes nothing away, and can't be too much."""
    is_room = own is None or (isinstance(own, Mapping) and len(own) < _MOST_METADATA)
    return (
        config.provider.returns_metadata
        and is_room
        and not any(getattr(message, name, None) is not None for name in _STEERING)
        and not any(name.lower() in _METADATA_HEADERS for name in message.extra_headers)
    )


def _forget_request(message: EmailMessage) -> None:
    """Keep what the caller may look at free of the key: the answer holds its request."""
    answer: Any = getattr(getattr(message, "anymail_status", None), "esp_response", None)
    if hasattr(answer, "request"):
        answer.request = None
