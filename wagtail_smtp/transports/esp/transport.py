"""The email provider transport: django-anymail's backend, over allowed addresses only.

django-anymail is imported when the first message is sent, so that only these sets need it.
"""

import logging
import math
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_host
from wagtail_smtp.config.values import Outcome
from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred, TransportUnavailable
from wagtail_smtp.runtime import tracing
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.base import LONGEST_CHECK, OutgoingMessage, Stage, StageTimer
from wagtail_smtp.transports.esp.catalog import INSTALL, METADATA, ESPConfig
from wagtail_smtp.transports.pool import PooledTransport
from wagtail_smtp.transports.tls import certificate, ssl_context

logger = logging.getLogger(__name__)

#: Maximum seconds of one wait in a check, even if the set's timeout is longer.
_CHECK_WAIT = 3.0
#: Number of metadata that all providers accept; Postmark and Unisender Go set the limit.
_MOST_METADATA = 10
#: Headers with which some providers receive metadata. The caller's values are kept.
_METADATA_HEADERS = frozenset({"x-metadata", "x-mailin-custom", "x-mailgun-variables"})
#: Attributes that may change how the provider receives metadata.
_METADATA_ATTRIBUTES = (
    *("template_id", "merge_data", "merge_global_data", "merge_metadata", "merge_headers"),
    "esp_extra",
)


class AnymailTransport(PooledTransport["AnymailSession"]):
    """Sends messages through one email provider. Shared by all threads of a process."""

    config: ESPConfig
    is_black_box = True
    supports_merge_data = True
    supports_login_check = False  # a key can only be checked by sending a message

    @sensitive_variables()
    def _open(self) -> "AnymailSession":
        return AnymailSession(self.config, self._context("http"))

    @sensitive_variables()
    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome:
        """Send one message; see :meth:`wagtail_smtp.transports.base.Transport.send`."""
        began = time.monotonic()
        with self.pool.lease() as (session, _is_reused):
            result = session.send(outgoing, reply_timeout)
        error = result if isinstance(result, Exception) else None
        config = self.config
        seconds = time.monotonic() - began
        tracing.record("send", seconds, config.name, config.host, config.port, error)
        if isinstance(result, Outcome):
            return result
        # Raised here because django-anymail's stack frames and errors contain the keys.
        raise result

    @sensitive_variables()
    def check(self, sender: str = "", outgoing: OutgoingMessage | None = None) -> Iterator[Stage]:
        """See :meth:`wagtail_smtp.transports.base.Transport.check`."""
        config = replace(self.config, timeout=min(self.config.timeout, _CHECK_WAIT))
        deadline = time.monotonic() + LONGEST_CHECK
        timer = StageTimer("resolve")
        sock: socket.socket | None = None
        try:
            addresses = guard.resolve(config.host, config.port, within=_CHECK_WAIT)
            yield timer.passed(addresses=guard.ip_addresses(addresses))
            timer.begin("connect")
            opening = _Opening(config)
            try:
                sock = guard.open_first(addresses, config.timeout, opening)
            except (OSError, ValueError) as error:
                opening.failure = error
            if opening.connected_at:
                yield Stage("connect", opening.connected_at - timer.began)
                timer.at, timer.began = "tls", opening.connected_at
            if opening.failure is not None:
                raise opening.failure
            if config.encryption == "ssl":
                yield timer.passed(**certificate(sock))
            if outgoing is not None:
                timer.begin("message")
                yield from _check_sending(config, outgoing, deadline - timer.began)
        except EmailDeliveryError as error:
            yield timer.failed(error)
        except (OSError, ValueError) as error:
            phase = "tls" if timer.at == "tls" else "connect"
            failed = MessageDeferred(f"{config.name}: failed at {phase}: {error}", phase=phase)
            failed.__cause__ = error
            yield timer.failed(failed)
        finally:
            if sock is not None:
                sock.close()


class _Opening:
    """Called with each connected socket; encrypts it.

    Attributes:
        connected_at: monotonic time of the last TCP connection; 0: there was none.
        failure: why no address works.
    """

    def __init__(self, config: ESPConfig) -> None:
        self._host = config.host
        self._context = ssl_context(config.ca_certificates) if config.encryption == "ssl" else None
        self.connected_at = 0.0
        self.failure: Exception | None = None

    def __call__(self, plain: socket.socket) -> socket.socket:
        self.connected_at = time.monotonic()
        if self._context is None:
            return plain
        return self._context.wrap_socket(plain, server_hostname=self._host)


@sensitive_variables()
def _check_sending(config: ESPConfig, outgoing: OutgoingMessage, within: float) -> Iterator[Stage]:
    # Half of the time is for connecting again, which takes at most four waits.
    config = replace(config, timeout=min(config.timeout, within / 8))
    transport = AnymailTransport(config)
    began = time.monotonic()
    try:
        outcome = transport.send(outgoing, within / 2)
    finally:
        transport.close()
    seconds = time.monotonic() - began
    refusals = "; ".join(f"{item.address}: {item.reply}" for item in outcome.not_sent)
    accepted = tuple(item.address for item in outcome.recipients if item.state == "sent")
    yield Stage("recipient", seconds, refusals, {"accepted": accepted})
    named = next((item.provider_id for item in outcome.recipients if item.provider_id), "")
    yield Stage("message", seconds, named)


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
        if time.monotonic() - self.used_at > conf.SESSION_CHECK_AFTER:
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
    import botocore.session

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
    import requests
    from botocore.awsrequest import AWSResponse

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
