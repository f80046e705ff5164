"""The webhook that email providers send tracking events to; each set has its own secret address.

django-anymail's views verify and parse the requests. This module makes sure that they only get
requests that know the set's secrets, limits their size and number, and stores events before the
project's receivers of django-anymail's signal are called.
"""

import base64
import http.client
import json
import logging
import re
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.db import transaction
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseNotFound,
)
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp import live
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.log import entries, tracking_events
from wagtail_smtp.exceptions import ConfigurationUnavailable, SecretError
from wagtail_smtp.models import DeliveryEvent, Secret, SettingsSet
from wagtail_smtp.models.choices import Reported
from wagtail_smtp.runtime import once
from wagtail_smtp.runtime.project import as_kept
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.esp import bounces
from wagtail_smtp.transports.esp.catalog import ESP, METADATA, PROVIDERS, Webhook, label
from wagtail_smtp.transports.tls import ssl_context


def webhook_of(slug: str) -> Webhook | None:
    """The webhook of the email provider ``slug``; None: it has no delivery tracking."""
    provider = PROVIDERS.get(slug)
    return provider.webhook if provider else None


def build_view(slug: str, webhook: Webhook, basic_auth: str, key: str, url: str) -> Any:
    """Create django-anymail's view for one request.

    Args:
        basic_auth: ``user:password``, as in the address entered at the provider.
        key: the signing key; may be empty.
        url: that address.

    Raises:
        ImportError: django-anymail, or a package that it needs for this provider, is missing.
    """
    options = dict(webhook.options) | {"webhook_secret": [basic_auth]}
    if webhook.key:
        options[webhook.key] = key or None
    if webhook.url_option:
        options[webhook.url_option] = url
    return import_string(f"anymail.webhooks.{slug}.{webhook.view}")(**options)


def normalize_key(webhook: Webhook, key: str) -> str:
    """A key as the view expects it; of a public key, only the base64 text of its PEM file."""
    if not webhook.is_public_key:
        return key.strip()
    return "".join(re.sub("-----[A-Z ]+-----", "", key).split())


def check_key(provider: ESP, key: str) -> None:
    """Raise an error of the provider's library if the key is not valid."""
    assert provider.webhook is not None
    build_view(provider.slug, provider.webhook, "user:password", key, "https://www.example.com/")
    if provider.webhook.is_public_key:
        load_der_public_key(base64.b64decode(key, validate=True))


def basic_auth(request: Any) -> str | None:
    """The user name and password of a request, as ``user:password``."""
    return cast("str | None", import_string("anymail.utils.get_request_basic_auth")(request))


#: arn:partition:sns:region:account:name
_TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d):\d{12}:[\w.-]{1,256}"
)
#: Seconds for each step.
_TIMEOUT = 10


def confirm_sns_subscription(message: Mapping[str, str]) -> None:
    """Confirm the Amazon SNS subscription that ``message`` asks for.

    The message's own URL isn't used: this connects to the region in the topic's ARN.

    Raises:
        ValueError: the message has no valid topic.
        OSError: Amazon can't be reached or refuses.
    """
    topic, token = str(message.get("TopicArn")), str(message.get("Token"))
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise ValueError("This is not an Amazon SNS topic.")
    partition, region = found.groups()
    host = f"sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")
    query = {"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token}
    connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT)
    context = ssl_context("")
    connection.sock = guard.open_first(
        guard.resolve(host, 443),
        _TIMEOUT,
        lambda plain: context.wrap_socket(plain, server_hostname=host),
    )
    try:
        connection.sock.settimeout(_TIMEOUT)
        connection.request("GET", f"/?{urlencode(query)}")
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError("Amazon SNS sent an invalid response.") from error
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"Amazon SNS responded with status {status}.")


#: The user name in the webhook's address.
USER = "webhook"


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """The secrets of one set's webhook.

    Attributes:
        password: the random password in the address that is entered at the provider.
        url: that address with the password; one provider signs it.
        key: the provider's signing key; empty: none was entered.
    """

    password: str = field(repr=False)
    url: str = field(repr=False)
    key: str = field(default="", repr=False)

    @property
    def basic_auth(self) -> str:
        """User name and password, as ``user:password``."""
        return f"{USER}:{self.password}"


def binding(transport: str, key: object) -> Mapping[str, str]:
    """The binding of the secrets: they are only valid for this set and this provider."""
    return {"transport": transport, "use": "webhook", "set": str(key)}


@sensitive_variables()
def renew(item: SettingsSet, url: str) -> WebhookSecret:
    """Create a new password for a set's webhook; the old one stops working immediately.

    The signing key stays. Call this with the settings locked.

    Args:
        url: the webhook's address, without a password.
    """
    password = secrets.token_urlsafe(32)
    parts = urlsplit(url)
    whole = urlunsplit(parts._replace(netloc=f"{USER}:{password}@{parts.netloc}"))
    known = of_set(item)
    secret = WebhookSecret(password, whole, known.key if known else "")
    _store(item, secret)
    return secret


@sensitive_variables()
def change_key(item: SettingsSet, key: str) -> None:
    """Store another signing key, or none. Call this with the settings locked."""
    known = of_set(item)
    if known is not None:
        _store(item, replace(known, key=key))


@sensitive_variables()
def of_set(item: SettingsSet) -> WebhookSecret | None:
    """The secrets of a set as it is saved; None if there are none or they can't be read."""
    return _reveal(item.webhook_secret_id, item.transport, item.key)


def accepted(key: uuid.UUID, transport: str) -> WebhookSecret | None:
    """The secrets that events about mail of the set ``key``, sent by this provider, must prove.

    Events are about mail that was already sent, so changes need no reload: the saved set counts.
    The live version only counts if the set was deleted, or for the provider that it used before.

    Returns:
        None if no events are accepted.

    Raises:
        ConfigurationUnavailable: the live version can't be read.
    """
    if webhook_of(transport) is None:
        return None
    rows = SettingsSet.objects.filter(key=key, transport=transport)
    found = rows.values_list("webhook_secret_id", flat=True)[:1]
    if found:
        return _reveal(found[0], transport, key)
    item = live.current().configuration.by_key().get(str(key))
    if item is None or item.transport != transport:
        return None
    return _reveal(item.webhook_secret, transport, key)


@sensitive_variables()
def _store(item: SettingsSet, secret: WebhookSecret) -> None:
    before = item.webhook_secret_id if of_set(item) else None
    content = json.dumps(asdict(secret))
    item.webhook_secret = Secret.store(content, binding(item.transport, item.key), item.key)
    # Not the whole row: someone may be editing it.
    SettingsSet.objects.filter(pk=item.pk).update(webhook_secret=item.webhook_secret)
    # In the live version too, because nothing is sent with it. The secret of another provider
    # stays: there may still be events about mail that it sent.
    if before is not None:
        Secret.objects.filter(pk=before).update(ciphertext="", revoked_at=timezone.now())


@sensitive_variables()
def _reveal(secret: int | None, transport: str, key: object) -> WebhookSecret | None:
    row = Secret.objects.filter(pk=secret).first() if secret else None
    if row is None:
        return None
    try:
        return WebhookSecret(**json.loads(row.reveal(binding(transport, key))))
    except (SecretError, ValueError, TypeError):
        return None


try:
    from django.contrib.auth.decorators import login_not_required
except ImportError:  # Django's app for users is not installed

    def login_not_required(view: Any) -> Any:  # type: ignore[misc]  # the same for every view
        """Return the view unchanged."""
        return view


logger = logging.getLogger(__name__)

#: Maximum bytes and events of a request; the largest batches of providers have 1000 events.
MAX_SIZE = 4 * 1024 * 1024
MAX_EVENTS = 2000
#: Seconds in which one refused request of a set is logged.
_LOG_INTERVAL = 60


class _Refused(Exception):
    """The request isn't from the provider, or can't be read."""


class _TooManyEvents(Exception):
    """The request has more events than any provider sends."""


@csrf_exempt
@login_not_required
@transaction.non_atomic_requests
@sensitive_variables()
def receive(request: HttpRequest, key: uuid.UUID, transport: str) -> HttpResponse:
    """Receive events about the mail of the set ``key``.

    Responds with 404 if the set has no webhook, 400 if a request isn't verified or can't be read,
    413 or 429 if it is too large or there are too many, and 503 without a database. As in
    django-anymail, errors of the project's receivers are 500, so that the provider tries again.
    """
    try:
        secret = accepted(key, transport)
    except ConfigurationUnavailable:
        return HttpResponse(status=503)
    webhook = webhook_of(transport)
    if secret is None or webhook is None:
        return HttpResponseNotFound()
    if request.method == "HEAD" or request.method in webhook.test_methods:
        return HttpResponse()  # some providers test the address before there is a key
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST", "HEAD"])
    refusal = _refusal(request, key, transport, secret)
    return refusal or _process(request, key, transport, webhook, secret)


@sensitive_variables()
def _refusal(
    request: HttpRequest, key: uuid.UUID, transport: str, secret: WebhookSecret
) -> HttpResponse | None:
    """The response to a request without the password or of too much; None: it may be read.

    Requests without the password don't count against the provider's limit.
    """
    if transport == "amazon_ses" and not request.META.get("HTTP_AUTHORIZATION"):
        return None  # the view asks for it, and Amazon sends it then
    if not constant_time_compare(basic_auth(request) or "", secret.basic_auth):
        _log_refusal(key, transport, "wrong password")
        return HttpResponseBadRequest()
    counter = f"wagtail_smtp.tracking.{key}.{int(time.time() // 60)}"
    if once.count(counter, 120) > conf.WEBHOOK_REQUESTS_PER_MINUTE:
        return HttpResponse(status=429, headers={"Retry-After": "60"})
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        # The limit also applies to requests without a length.
        body = request.read(MAX_SIZE + 1) if length <= MAX_SIZE else None
    except (ValueError, OSError):
        return HttpResponseBadRequest()
    if body is None or len(body) > MAX_SIZE:
        return HttpResponse(status=413)
    # This is where Django's ``body`` stores it. Django's own limit is for requests of people.
    request._body = body
    return None


@sensitive_variables()
def _process(
    request: HttpRequest, key: uuid.UUID, transport: str, webhook: Webhook, secret: WebhookSecret
) -> HttpResponse:
    try:
        view = _view(key, transport, webhook, secret)
    except Exception as error:  # anything, if a package is missing or a key is unusable
        _log_refusal(key, transport, type(error).__name__)
        return HttpResponseBadRequest()
    view.setup(request)
    try:
        return view.dispatch(request)  # type: ignore[no-any-return]
    except _Refused as refused:
        _log_refusal(key, transport, type(refused.__cause__).__name__)
        return HttpResponseBadRequest()
    except _TooManyEvents:
        return HttpResponse(status=413)


@sensitive_variables()
def _view(key: uuid.UUID, transport: str, webhook: Webhook, secret: WebhookSecret) -> Any:
    """django-anymail's view, changed to store events before it sends its signal."""
    if webhook.needs_key and not secret.key:
        raise ValueError("The signing key is missing.")
    view = build_view(transport, webhook, secret.basic_auth, secret.key, secret.url)
    validate, parse = view.run_validators, view.parse_events

    def run_validators(request: HttpRequest) -> None:
        try:
            validate(request)
        except Exception as error:  # validators don't expect every request
            raise _Refused from error

    def parse_events(request: HttpRequest) -> Any:
        try:
            events = parse(request)
        except Exception as error:
            raise _Refused from error
        if len(events) > MAX_EVENTS:
            raise _TooManyEvents
        tracking_events.store(list(_normalize(key, transport, webhook, events)))
        return events

    view.run_validators, view.parse_events = run_validators, parse_events
    if transport == "amazon_ses":
        view.auto_confirm_sns_subscription = confirm_sns_subscription
    return view


def _log_refusal(key: uuid.UUID, transport: str, reason: str) -> None:
    """Log a refused request, not too often: anyone can send requests. Nothing of it is logged."""
    if once.is_first(f"wagtail_smtp.refused.{key}", _LOG_INTERVAL):
        logger.warning(
            "Delivery tracking: request from %s for set %s refused: %s", transport, key, reason
        )


def _normalize(
    key: uuid.UUID, transport: str, webhook: Webhook, events: Iterable[Any]
) -> Iterator[DeliveryEvent]:
    for event in events:
        try:
            event_type = Reported(event.event_type)
        except ValueError:
            logger.info("%s sent an unknown event; it is ignored.", label(transport))
            continue
        reason = event.mta_response or event.description or event.reject_reason
        yield tracking_events.event(
            set_key=key,
            type=event_type,
            at=event.timestamp and as_kept(event.timestamp),
            message_id=entries.clip(event.message_id),
            address=_address(event.recipient),
            reason=entries.clip(reason, tracking_events.REASON),
            event_id=entries.clip(event.event_id),
            entry_key=_entry_key(event.metadata),
            names_recipient=webhook.names_recipient(event_type),
            suppresses=bounces.suppresses(
                transport, event_type, event.esp_event, event.mta_response
            ),
        )


def _address(recipient: object) -> str:
    try:
        return str(entries.recipient(str(recipient or ""), "").address)
    except ValueError:
        return ""  # an invalid domain, which the log doesn't contain either


def _entry_key(metadata: object) -> uuid.UUID | None:
    try:
        return uuid.UUID(metadata[METADATA])  # type: ignore[index]
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
