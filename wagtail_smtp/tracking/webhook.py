"""The webhook that email providers send tracking events to; each set has its own address.

django-anymail's views verify and parse the requests. This module makes sure that they only get
requests that know the set's secrets, limits their size and number, and stores events before the
project's receivers of django-anymail's signal are called.
"""

import logging
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import transaction
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseNotFound,
)
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.log import entries, tracking_events
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.models.choices import Reported
from wagtail_smtp.runtime import once
from wagtail_smtp.runtime.project import as_kept
from wagtail_smtp.tracking import esps
from wagtail_smtp.tracking.secrets import WebhookSecret, accepted
from wagtail_smtp.transports.esp.catalog import METADATA, Webhook, label

try:
    from django.contrib.auth.decorators import login_not_required
except ImportError:  # Django's app for users is not installed

    def login_not_required(view: Any) -> Any:
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
    webhook = esps.webhook_of(transport)
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
    if not constant_time_compare(esps.basic_auth(request) or "", secret.basic_auth):
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
    view = esps.build_view(transport, webhook, secret.basic_auth, secret.key, secret.url)
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
        tracking_events.take(list(_normalize(key, transport, webhook, events)))
        return events

    view.run_validators, view.parse_events = run_validators, parse_events
    if transport == "amazon_ses":
        view.auto_confirm_sns_subscription = esps.confirm_sns_subscription
    return view


def _log_refusal(key: uuid.UUID, transport: str, reason: str) -> None:
    """Log a refused request, not too often: anyone can send requests. Nothing of it is logged."""
    if once.is_first(f"wagtail_smtp.refused.{key}", _LOG_INTERVAL):
        logger.warning(
            "Delivery tracking: request from %s for set %s refused: %s", transport, key, reason
        )


def _normalize(
    key: uuid.UUID, transport: str, webhook: Webhook, events: Iterable[Any]
) -> Iterator[tracking_events.Report]:
    for event in events:
        try:
            event_type = Reported(event.event_type)
        except ValueError:
            logger.info("%s sent an unknown event; it is ignored.", label(transport))
            continue
        reason = event.mta_response or event.description or event.reject_reason
        yield tracking_events.Report(
            set_key=key,
            type=event_type,
            at=event.timestamp and as_kept(event.timestamp),
            message_id=entries.clip(event.message_id),
            address=_address(event.recipient),
            reason=entries.clip(reason, tracking_events.REASON),
            event_id=entries.clip(event.event_id),
            entry_key=_entry_key(event.metadata),
            names_recipient=webhook.names_recipient(event_type),
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
