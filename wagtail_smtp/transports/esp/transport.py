"""The email provider transport: django-anymail's backend, over allowed addresses only.

django-anymail is imported when the first message is sent, so that only these sets need it.
"""

import logging
import math
import os
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import botocore.session
import requests
from botocore.awsrequest import AWSResponse
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_host
from wagtail_smtp.config.values import Outcome
from wagtail_smtp.exceptions import TransportUnavailable
from wagtail_smtp.transports import base
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.catalog import INSTALL, METADATA, ESPConfig
from wagtail_smtp.transports.pool import Availability, Pool
from wagtail_smtp.transports.smtp.tls import shared_context

logger = logging.getLogger(__name__)

#: Number of metadata that all providers accept; Postmark and Unisender Go set the limit.
_MOST_METADATA = 10
#: Headers with which some providers receive metadata. The caller's values are kept.
_METADATA_HEADERS = frozenset({"x-metadata", "x-mailin-custom", "x-mailgun-variables"})
#: Attributes that may change how the provider receives metadata.
_METADATA_ATTRIBUTES = (
    *("template_id", "merge_data", "merge_global_data", "merge_metadata", "merge_headers"),
    "esp_extra",
)


class AnymailTransport:
    """Sends messages through one email provider. Shared by all threads of a process."""

    def __init__(self, config: ESPConfig) -> None:
        self.config = config
        self.name = config.name
        self.availability = Availability()
        self._ssl_context: ssl.SSLContext | None = None
        self._context_lock = threading.Lock()
        # Keeps itself alive until closed, so that its sessions are closed when the process ends.
        self._keep_alive: AnymailTransport | None = self
        this = weakref.proxy(self)
        self._pool: Pool[AnymailSession] = Pool(lambda: this._open(), config.name)
        base.register(self)

    @sensitive_variables()
    def _open(self) -> "AnymailSession":
        with self._context_lock:
            if self._ssl_context is None:
                self._ssl_context = shared_context("http", self.config.ca_certificates)
        return AnymailSession(self.config, self._ssl_context)

    def close(self) -> None:
        """Close idle sessions now, and those in use after their message."""
        self._pool.retire()
        self._ssl_context = self._keep_alive = None

    def after_fork(self) -> None:
        """Replace locks and sessions in a forked child: they belong to the parent."""
        self._context_lock = threading.Lock()
        self.availability.after_fork()
        self._pool.after_fork()

    @sensitive_variables()
    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome:
        """Send one message; see :class:`wagtail_smtp.transports.base.Transport`."""
        with self._pool.lease() as (session, _is_reused):
            result = session.send(outgoing, reply_timeout)
        if isinstance(result, Outcome):
            return result
        # Raised here because django-anymail's stack frames and errors contain the keys.
        raise result


class AnymailSession:
    """A provider's backend and its connection. Used by one thread at a time."""

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
                f"{config.name}: django-anymail is missing. Ask a developer to run: {INSTALL}",
                phase="connect",
            ) from None
        except ImproperlyConfigured as error:
            # Its text may contain a key, so only the type is shown.
            raise TransportUnavailable(
                f"{config.name}: django-anymail can't be configured ({type(error).__name__}).",
                phase="connect",
            ) from None
        _route_through(self._backend, self._adapter)
        self.is_broken = False
        self.messages = 0
        self.used_at = time.monotonic()
        self.expires_at = math.inf

    @sensitive_variables()
    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome | Exception:
        """Send one message.

        Returns:
            The outcome, or an error to raise, without references to django-anymail's objects.
        """
        from wagtail_smtp.transports.esp.errors import classify_error

        message, adapter = outgoing.message, self._adapter
        if time.monotonic() - self.used_at > conf.ONE_WRITE_WITHIN:
            # An older connection may have died unnoticed. After writing to it, the outcome would
            # be unknown.
            adapter.forget()
        adapter.reply_timeout = reply_timeout
        adapter.progress.begin()
        _leave_out_fixed_headers(message, self._config)
        enforce_redirect(self._backend, outgoing)
        error: Exception | None = None
        count = 0
        self.is_broken = True  # unless the outcome is known below
        try:
            with _with_entry_key(message, outgoing.key, self._config):
                count = self._backend.send_messages([message])
        except Exception as caught:  # signal receivers may raise anything
            error = caught
        self.messages += 1
        self.used_at = time.monotonic()
        result = classify_error(self._config, outgoing, adapter.progress, count, error)
        self.is_broken = adapter.progress.at not in ("", "done")
        _forget_request(message)
        return result

    def is_usable(self) -> bool:
        """Whether this session can send the next message."""
        return not self.is_broken

    def close(self) -> None:
        """Close the connection; never raises."""
        self._adapter.close()

    def abandon(self) -> None:
        """Close the socket without sending anything, after a fork."""
        sock = self._adapter.progress.sock
        if sock is not None:
            sock.close()


@sensitive_variables()
def _backend(config: ESPConfig) -> Any:
    """Create the provider's backend.

    Raises:
        ImportError: django-anymail, or a package it needs for this provider, is missing.
    """
    provider = config.provider
    # Pass all options: for missing ones, the project's ANYMAIL setting would be used.
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
        arguments |= parameters(arguments, config.url)
    else:
        arguments |= {"api_url": config.url, "timeout": config.timeout}
    backend = import_string(provider.backend)(**arguments)
    # The only option that an argument can't override; it can add recipients.
    backend.send_defaults = {}
    return backend


def _route_through(backend: Any, adapter: Any) -> None:
    """Make the opened backend send everything through ``adapter``."""
    if hasattr(backend, "session"):
        from wagtail_smtp.transports.http import guarded

        guarded(backend.session, adapter)
    else:
        send_by(backend.client, adapter)


def enforce_redirect(backend: Any, outgoing: OutgoingMessage) -> None:
    """Make django-anymail's backend check the redirect again before sending.

    Receivers of its signals run after the redirect and may change the recipients.
    """
    build = type(backend).build_message_payload

    def build_message_payload(message: EmailMessage, defaults: Any) -> Any:
        if outgoing.check_redirect is None:
            return build(backend, message, defaults)
        outgoing.check_redirect(message)
        # The project's SEND_DEFAULTS may add recipients.
        return build(backend, message, {})

    backend.build_message_payload = build_message_payload


def _leave_out_fixed_headers(message: EmailMessage, config: ESPConfig) -> None:
    """Remove our Date and Message-ID: providers add their own; some refuse ours or send both."""
    if config.slug == "amazon_ses":
        return  # it gets the whole serialised message
    for name in getattr(message, "wagtail_smtp_fixed", ()):
        message.extra_headers.pop(name, None)


@contextmanager
def _with_entry_key(message: EmailMessage, key: str, config: ESPConfig) -> Iterator[None]:
    """Add the log entry's key to the metadata, if the provider returns it in tracking events.

    Events then find their entry even if the provider's response, with its message ID, was lost.
    The caller's metadata are restored afterwards.
    """
    own = getattr(message, "metadata", None)
    if not key or not _may_add_entry_key(message, own, config):
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


def _may_add_entry_key(message: EmailMessage, own: Any, config: ESPConfig) -> bool:
    """Whether there is room for another metadata value, and adding it has no side effects."""
    is_room = own is None or (isinstance(own, Mapping) and len(own) < _MOST_METADATA)
    return (
        config.provider.returns_metadata
        and is_room
        and not any(getattr(message, name, None) is not None for name in _METADATA_ATTRIBUTES)
        and not any(name.lower() in _METADATA_HEADERS for name in message.extra_headers)
    )


def _forget_request(message: EmailMessage) -> None:
    """Remove the request from the response that the caller can see: it contains the key."""
    response: Any = getattr(getattr(message, "anymail_status", None), "esp_response", None)
    if hasattr(response, "request"):
        response.request = None


#: Ignore this machine's profiles and files: only the set's options apply.
_NOTHING = (None, None, None, None)
_NO_FILE = (None, None, os.devnull, None)


@sensitive_variables()
def parameters(arguments: dict[str, Any], url: str) -> dict[str, Any]:
    """Move the set's options from ``arguments`` into the parameters that the backend needs."""
    session = botocore.session.Session(
        {"profile": _NOTHING, "config_file": _NO_FILE, "credentials_file": _NO_FILE}
    )
    session.set_config_variable("metadata_service_num_attempts", 0)
    names = ("region_name", "aws_access_key_id", "aws_secret_access_key")
    client = {name: arguments.pop(name) for name in names}
    client |= {
        "endpoint_url": url.rstrip("/"),
        "verify": True,
        "config": {
            "ignore_configured_endpoint_urls": True,
            "proxies": {},
            "retries": {"total_max_attempts": 1},
            "signature_version": "v4",
        },
    }
    return {"session_params": {"botocore_session": session}, "client_params": client}


def send_by(client: Any, adapter: Any) -> None:
    """Send the client's requests through ``adapter``, an HTTP adapter for requests."""

    @sensitive_variables()
    def send(request: Any, **kwargs: Any) -> AWSResponse:
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        prepared = requests.Request(
            request.method, request.url, headers=headers, data=request.body
        ).prepare()
        response = adapter.send(prepared)
        return AWSResponse(request.url, response.status_code, response.headers, response.raw)

    client.meta.events.register("before-send.sesv2", send)
