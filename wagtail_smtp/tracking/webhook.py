"""The address that a provider reports to, one for each set.

Every check and all reading of what is reported is django-anymail's own; here it is made sure that
only who knows the set's secrets is listened to, so much at a time, and that what was told is kept
before the project's receivers hear of it.
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
from wagtail_smtp.tracking.esps import PROVIDERS, Provider, basic_auth
from wagtail_smtp.tracking.secrets import WebhookSecret, wanted
from wagtail_smtp.transports.esp.catalog import METADATA

try:
    from django.contrib.auth.decorators import login_not_required
except ImportError:  # Django's app for users is not installed

    def login_not_required(view: Any) -> Any:
        """As it is."""
        return view


logger = logging.getLogger(__name__)

#: Octets of a request, and reports in it; the largest batches of providers have 1000.
MAX_SIZE = 4 * 1024 * 1024
MAX_REPORTS = 2000
#: Seconds in which one refused request is told of in the log.
_TELL_EVERY = 60


class _Refused(Exception):
    """It was not the provider, or can't be read."""


class _TooMuch(Exception):
    """More reports in one request than anybody sends."""


@csrf_exempt
@login_not_required
@transaction.non_atomic_requests
@sensitive_variables()
def receive(request: HttpRequest, key: uuid.UUID, transport: str) -> HttpResponse:
    """Take reports about the mail of the set ``key``.

    Answers 404 where no reports are taken, 400 to who doesn't prove to be the provider or can't
    be understood, 413 and 429 to what is too much, 503 without a database. Errors of the
    project's receivers are 500, so that the provider reports again, as django-anymail does it.
    """
    try:
        proof = wanted(key, transport)
    except ConfigurationUnavailable:
        return HttpResponse(status=503)
    if proof is None:
        return HttpResponseNotFound()
    provider = PROVIDERS[transport]
    if request.method == "HEAD" or request.method in provider.asks_by:
        return HttpResponse()  # before there is a key, they look whether there is anybody
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST", "HEAD"])
    return _turned_away(request, key, provider, proof) or _taken(request, key, provider, proof)


@sensitive_variables()
def _taken(
    request: HttpRequest, key: uuid.UUID, provider: Provider, proof: WebhookSecret
) -> HttpResponse:
    try:
        view = _view(provider, proof, key)
    except Exception as error:  # whatever a missing library or an unusable key raises
        _tell(key, provider.slug, error)
        return HttpResponseBadRequest()
    view.setup(request)
    try:
        return view.dispatch(request)  # type: ignore[no-any-return]
    except _Refused as refused:
        _tell(key, provider.slug, refused.__cause__)
        return HttpResponseBadRequest()
    except _TooMuch:
        return HttpResponse(status=413)


@sensitive_variables()
def _view(provider: Provider, proof: WebhookSecret, key: uuid.UUID) -> Any:
    """django-anymail's view, which keeps what it has read before it tells anybody."""
    if provider.needs_key and not proof.key:
        raise ValueError("the signing key is missing")
    view = provider.build(proof.basic_auth, proof.key, proof.url)
    validate, parse = view.run_validators, view.parse_events

    def run_validators(request: HttpRequest) -> None:
        try:
            validate(request)
        except Exception as error:  # what is sent is not always what the validators expect
            raise _Refused from error

    def parse_events(request: HttpRequest) -> Any:
        try:
            events = parse(request)
        except Exception as error:
            raise _Refused from error
        if len(events) > MAX_REPORTS:
            raise _TooMuch
        tracking_events.take(list(_reports(provider, key, events)))
        return events

    view.run_validators, view.parse_events = run_validators, parse_events
    if provider.slug == "amazon_ses":
        view.auto_confirm_sns_subscription = esps.confirm
    return view


@sensitive_variables()
def _turned_away(
    request: HttpRequest, key: uuid.UUID, provider: Provider, proof: WebhookSecret
) -> HttpResponse | None:
    """The answer to who doesn't know the password, or sends too much; None: it may be read.

    Who doesn't know it uses up nothing of what the provider may send.
    """
    given = basic_auth(request)
    if provider.slug == "amazon_ses" and not request.META.get("HTTP_AUTHORIZATION"):
        return None  # the view asks for it, which is when Amazon sends it
    if not constant_time_compare(given or "", proof.basic_auth):
        _tell(key, provider.slug, None)
        return HttpResponseBadRequest()
    if not _is_within_rate(key):
        return HttpResponse(status=429, headers={"Retry-After": "60"})
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        # One that doesn't say how much it sends is read no further either.
        body = request.read(MAX_SIZE + 1) if length <= MAX_SIZE else None
    except (ValueError, OSError):
        return HttpResponseBadRequest()
    if body is None or len(body) > MAX_SIZE:
        return HttpResponse(status=413)
    # What Django's own ``body`` keeps it in; its limit is for what people send.
    request._body = body
    return None


def _is_within_rate(key: uuid.UUID) -> bool:
    name = f"wagtail_smtp.runtime.error_logging.{key}.{int(time.time() // 60)}"
    return once.count(name, 120) <= conf.REPORTS_PER_MINUTE


def _tell(key: uuid.UUID, transport: str, error: BaseException | None) -> None:
    """A line in the log, now and then: anybody can send requests. Nothing of what was sent."""
    why = type(error).__name__ if error is not None else "wrong password"
    if once.is_first(f"wagtail_smtp.refused.{key}", _TELL_EVERY):
        logger.warning(
            "Delivery tracking: request from %s for set %s refused: %s", transport, key, why
        )


def _reports(
    provider: Provider, key: uuid.UUID, events: Iterable[Any]
) -> Iterator[tracking_events.Report]:
    for event in events:
        try:
            kind = Reported(event.event_type)
        except ValueError:
            logger.info("%s sent an unknown event; it is ignored.", provider.label)
            continue
        words = event.mta_response or event.description or event.reject_reason
        yield tracking_events.Report(
            set_key=key,
            type=kind,
            at=event.timestamp and as_kept(event.timestamp),
            message_id=entries.clip(event.message_id),
            address=_address(event.recipient),
            reason=entries.clip(words, tracking_events.REASON),
            event_id=entries.clip(event.event_id),
            entry_key=_entry_key(event.metadata),
            names_recipient=provider.names_recipient(kind),
        )


def _address(recipient: object) -> str:
    try:
        return str(entries.recipient(str(recipient or ""), "").address)
    except ValueError:
        return ""  # a domain that can't be written, which the log doesn't hold either


def _entry_key(metadata: object) -> uuid.UUID | None:
    try:
        return uuid.UUID(metadata[METADATA])  # type: ignore[index]
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
