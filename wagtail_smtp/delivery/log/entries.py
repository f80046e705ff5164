"""Write the outcome of a message into the delivery log. Its errors never affect sending."""

import copy
import logging
import re
import smtplib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from email.utils import parseaddr
from typing import Any

from django.core.mail import EmailMessage
from django.db.models import Model
from django.utils import timezone

from wagtail_smtp import suppression
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_address
from wagtail_smtp.config.values import OTHER_SITE, Attempt, Recipient
from wagtail_smtp.delivery.log import cause, stored_message, tracking_events, writer
from wagtail_smtp.delivery.result import STATES, DeliveryResult
from wagtail_smtp.delivery.site import NO_SITE, MessageSite
from wagtail_smtp.exceptions import (
    AttemptFailed,
    DestinationRefused,
    EmailDeliveryError,
    MessageRefused,
    SecretError,
)
from wagtail_smtp.live.db import bulk_sql
from wagtail_smtp.models import LogAttempt, LogEntry, LogRecipient
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.models.log import SHOWN
from wagtail_smtp.runtime import error_logging
from wagtail_smtp.transports.base import OutgoingMessage

logger = logging.getLogger(__name__)

#: States of recipients who may still get the message.
_UNDECIDED = (RecipientState.NOT_SENT, RecipientState.DEFERRED)
#: The state of recipients about whom nothing else is known, by the state of the message.
_OF_RECIPIENTS: Mapping[str, str] = {
    State.SENT: RecipientState.SENT,
    State.REFUSED: RecipientState.REFUSED,
    State.UNKNOWN: RecipientState.UNKNOWN,
}

#: Largest message, in bytes, that is kept in memory until the database can be written to.
_MAX_LATE_SIZE = 1024 * 1024

#: Phases of attempts that end before a server is contacted.
_PHASES: Mapping[type[Exception], str] = {SecretError: "password", DestinationRefused: "address"}


def record(
    delivery: DeliveryResult,
    resend_of: LogEntry | None = None,
    retry: Callable[[LogEntry], None] | None = None,
) -> LogEntry | None:
    """Write the entry; None if it can't be written, which is reported in the project's own log.

    Args:
        resend_of: the entry whose message was sent again.
        retry: puts a deferred message into the outbox, in the same transaction. The state of
            its entry is then *deferred*.
    """
    try:
        described, rows = _described(delivery)
        described.resend_of = resend_of
        return writer.write(list(_write_attempts(delivery, described, rows, retry)))
    except Exception:
        error_logging.failure(logger, "The delivery log could not be written; sending goes on.")
        return None


def is_handled(entry: LogEntry | None) -> bool:
    """Whether a message that was not sent is in the outbox, or reported and stored."""
    if entry is None:
        return False
    if entry.state == State.DEFERRED:
        return True
    return entry.state == State.TOO_LARGE and entry.is_stored is True


def _write_attempts(
    delivery: DeliveryResult,
    described: LogEntry,
    rows: list[Model],
    retry: Callable[[LogEntry], None] | None,
) -> Iterator[writer.WriteAttempt]:
    """Yield the attempts to write the entry, the best first."""
    if retry is not None:
        waiting, waiting_rows = _waiting(described, rows)

        def wait() -> None:
            _insert(waiting, waiting_rows)
            retry(waiting)

        # Not later: by then the sender may have sent it again.
        yield writer.WriteAttempt(
            waiting, waiting_rows, wait, True, may_be_late=False, size=described.size
        )
    frozen = b""
    # A security message is stored only while the outbox will still try it.
    if is_kept(delivery, described.state):
        frozen = _frozen(delivery, described)

    def keep() -> None:
        _insert(described, rows)
        stored_message.keep(described, frozen)

    if frozen:
        is_small = len(frozen) <= _MAX_LATE_SIZE
        yield writer.WriteAttempt(
            described, rows, keep, True, may_be_late=is_small, size=len(frozen)
        )
    has_provider_ids = any(getattr(row, "provider_id", "") for row in rows)
    alone = (lambda: _insert(described, rows)) if has_provider_ids else None
    yield writer.WriteAttempt(described, rows, alone)


def _described(delivery: DeliveryResult) -> tuple[LogEntry, list[Model]]:
    """The entry and its rows, or as much of them as a malformed message allows."""
    rows: list[Model] = []
    try:
        described = entry(delivery)
    except Exception:
        logger.warning("A message can't be described for the delivery log.", exc_info=True)
        described = _least(delivery)
    for described_by in (lambda: recipients(delivery), lambda: attempts(delivery.attempts)):
        try:
            rows.extend(described_by())
        except Exception:
            logger.warning("Entry %s is not complete.", described.key, exc_info=True)
    envelope = (row for row in rows if isinstance(row, LogRecipient))
    described.cause = cause.find(delivery, described.state, envelope)
    return described, rows


def _least(delivery: DeliveryResult) -> LogEntry:
    return LogEntry(
        key=delivery.key or uuid.uuid4(),
        state=delivery.state,
        category=delivery.classification.category,
        category_source=delivery.classification.source,
        **site_columns(delivery.classification.site),
        version=delivery.version,
        reason=clip(_reason(delivery), 2 * SHOWN),
    )


def site_columns(site: MessageSite) -> dict[str, Any]:
    """The values of an entry's columns for its site."""
    return {
        "site_key": site.key or None,
        "site": clip(site.name),
        "site_source": site.source,
    }


def site_of(entry: LogEntry, source: str = "") -> MessageSite:
    """The site of an entry's message.

    Args:
        source: of a resend, instead of how the site was found. The default site is then the site of
            a message whose site could not be looked up: a person decided to send it.
    """
    if entry.site_key is None and (source or entry.site_source == "default"):
        return NO_SITE  # the default site is looked up again
    return MessageSite(entry.site_key or OTHER_SITE, entry.site, source or entry.site_source)


def _frozen(delivery: DeliveryResult, described: LogEntry) -> bytes:
    """The message as it is stored; empty if it can't be."""
    try:
        return stored_message.freeze(delivery.message).content
    except Exception as error:
        logger.warning("The message of entry %s is not stored: %.200s", described.key, error)
        return b""


def _insert(kept: LogEntry, rows: Sequence[Model]) -> None:
    """Insert an entry, and apply the events that its email provider has already reported."""
    bulk_sql.insert_all(kept, rows)
    tracking_events.catch_up(kept, [row for row in rows if isinstance(row, LogRecipient)])


def _waiting(described: LogEntry, rows: Iterable[Model]) -> tuple[LogEntry, list[Model]]:
    """Copies with the states of a message that the outbox will try again."""
    waiting, waiting_rows = copy.copy(described), [copy.copy(row) for row in rows]
    waiting.state = State.DEFERRED
    for row in waiting_rows:
        if isinstance(row, LogRecipient) and row.state in _UNDECIDED:
            row.state = RecipientState.WAITING
    return waiting, waiting_rows


def entry(delivery: DeliveryResult) -> LogEntry:
    """The entry alone."""
    message, outgoing = delivery.message, delivery.outgoing
    redirect = delivery.route.redirect
    last = delivery.attempts[-1] if delivery.attempts else None
    least = _least(delivery)
    least.via = clip(last.via, 100) if last else ""
    least.set_key = last.key or None if last else None
    least.sender = sender(delivery)
    least.subject = clip(message.subject)
    least.size = _size(outgoing)
    least.message_id = _header(message, "message-id")
    least.redirected_by = clip(redirect.source, 100) if redirect else ""
    return least


def _header(message: EmailMessage, wanted: str) -> str:
    """The value of a header, found in any case; empty if the message doesn't set it."""
    headers = message.extra_headers
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            if str(name).lower() == wanted:
                return clip(value)
    return ""


def sender(delivery: DeliveryResult) -> str:
    """The message's From header, with the set's sender if that was applied."""
    shown = delivery.message if delivery.outgoing is None else delivery.outgoing.message
    return _header(shown, "from") or clip(shown.from_email)


def _size(outgoing: OutgoingMessage | None) -> int:
    try:
        return outgoing.size if outgoing is not None else 0
    except Exception:
        return 0  # it can't be rendered, which is why it wasn't sent


def _reason(delivery: DeliveryResult) -> str:
    if delivery.failure is not None:
        # A transport may raise anything, with secrets in the text.
        return error_text(delivery.failure, is_ours=not delivery.was_handed_over)
    not_sent = delivery.outcome.not_sent if delivery.outcome else ()
    return f"{not_sent[0].code} {not_sent[0].reply}" if not_sent else ""


def recipients(delivery: DeliveryResult, *, kept_from: bool = True) -> Iterable[LogRecipient]:
    """Each envelope recipient with its state.

    Args:
        kept_from: also yield those who don't get the message because of a redirect.
    """
    known: Iterable[Recipient] = ()
    if delivery.outcome is not None:
        known = delivery.outcome.recipients
    elif isinstance(delivery.failure, AttemptFailed):
        known = delivery.failure.recipients
    states = {item.address: item for item in known}
    default = _OF_RECIPIENTS.get(delivery.state, RecipientState.NOT_SENT)
    message, outgoing = delivery.message, delivery.outgoing
    addresses = outgoing.envelope.recipients if outgoing is not None else _recipients_of(message)
    for address in dict.fromkeys((*states, *map(str, addresses))):
        item = states.get(address)
        if delivery.suppressed and suppression.normalize(address) in delivery.suppressed:
            continue
        yield recipient(
            address,
            item.state if item else default,
            code=_code(item.code) if item else 0,
            reply=clip(item.reply, 2 * SHOWN) if item else "",
            provider_id=clip(item.provider_id) if item else "",
        )
    for address, why in delivery.suppressed.items():
        yield recipient(address, RecipientState.SUPPRESSED, reply=why)
    if kept_from and delivery.route.redirect is not None:
        yield from redirected(message)


def _recipients_of(message: EmailMessage) -> Iterable[str]:
    try:
        return message.recipients()
    except Exception:
        # Its class or the values of its fields are malformed: use what the fields contain.
        given = (getattr(message, name, None) for name in ("to", "cc", "bcc"))
        return [item for items in given if isinstance(items, list | tuple) for item in items]


def redirected(message: EmailMessage) -> Iterable[LogRecipient]:
    """The recipients who don't get the message because of a redirect."""
    roles = {"to": message.to, "cc": message.cc, "bcc": message.bcc}
    for role, addresses in roles.items():
        for address in addresses or ():
            yield recipient(str(address), RecipientState.REDIRECTED, role=role)


def recipient(address: str, state: str, **values: object) -> LogRecipient:
    """A recipient, with its address in the form that the search uses."""
    try:
        bare = ascii_address(parseaddr(address)[1] or address)
    except ValueError:
        bare = address  # not an address: log it as written
    bare = clip(bare.lower())
    return LogRecipient(address=bare, domain=bare.rpartition("@")[2], state=state, **values)


def attempts(made: Iterable[Attempt]) -> Iterable[LogAttempt]:
    """The attempts, with the server's responses."""
    made = tuple(made)
    began = timezone.now() - timedelta(seconds=sum(attempt.seconds for attempt in made))
    for attempt in made:
        failed = attempt.error if isinstance(attempt.error, AttemptFailed) else None
        yield LogAttempt(
            via=clip(attempt.via, 100),
            set_key=attempt.key or None,
            began_at=began,
            seconds=attempt.seconds,
            state=_state_of(attempt),
            phase=failed.phase if failed else _phase(attempt.error),
            code=_code(failed.code) if failed else 0,
            reply=clip(_response(attempt), 2 * SHOWN),
        )
        began += timedelta(seconds=attempt.seconds)


def _phase(error: Exception | None) -> str:
    """The phase of an attempt that ended before a server was contacted."""
    return next((phase for kind, phase in _PHASES.items() if isinstance(error, kind)), "")


def _code(code: int) -> int:
    """A reply code that fits the column; smtplib uses -1 for one that it can't parse."""
    return code if 0 <= code <= 999 else 0


def _response(attempt: Attempt) -> str:
    if attempt.error is not None:
        return getattr(attempt.error, "reply", "") or error_text(attempt.error)
    return attempt.outcome.reply if attempt.outcome else ""


def error_text(error: BaseException, *, is_ours: bool = False) -> str:
    """The text of our own errors; only the class name of others, whose text may have a password."""
    name = type(error).__name__
    return str(error) or name if is_ours or isinstance(error, EmailDeliveryError) else name


def _state_of(attempt: Attempt) -> State:
    if attempt.outcome is not None:
        return State.PARTLY_SENT if attempt.outcome.not_sent else State.SENT
    for kind, state in STATES.items():
        if isinstance(attempt.error, kind):
            return state
    return State.DEFERRED


def clip(value: object, length: int = SHOWN) -> str:
    """``value`` as text without control characters, at most ``length`` characters."""
    try:
        value = str(value or "")
    except Exception:
        value = f"<{type(value).__name__}>"  # for example, a translation that fails
    text = value[: 2 * length]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = writer.as_plain(text)
    return text if len(text) <= length else text[: length - 1] + "…"


#: RFC 3463, and the IANA registry of enhanced status codes: the sender's address, the server's
#: system, the protocol, and security or policy.
_STATUSES = re.compile(r"5\.(1\.[78]|3\.\d+|5\.\d+|7\.\d+)\b")
_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}\b")
#: Login required, login refused, encryption required (RFC 4954).
_LOGIN = frozenset({530, 534, 535, 538})
_CONFIGURATION = re.compile(
    r"relay|rcpthosts|authenticat|log ?in\b|not (permitted|allowed|authori[sz]ed)|policy|sender"
    r"|\bspf\b|\bdkim\b|\bdmarc\b|black ?list|block ?list|reputation|reverse|\bptr\b|rdns",
    re.IGNORECASE,
)
_CONTENT = re.compile(r"\bspam\b|virus|malware|phish|content|attachment", re.IGNORECASE)


def is_kept(delivery: DeliveryResult, state: str) -> bool:
    """Whether to store the message, now that its state is final."""
    if delivery.classification.category == SECURITY:
        return False
    is_stored = conf.stores(state)
    if is_stored or state != State.REFUSED or conf.STORE_MESSAGES != "undelivered":
        return is_stored
    failure = delivery.failure
    return isinstance(failure, MessageRefused) and concerns_configuration(failure)


def concerns_configuration(error: MessageRefused) -> bool:
    """Whether the message may be accepted once the configuration is corrected."""
    replies = _replies(error)
    return bool(replies) and all(_is_about_configuration(*reply) for reply in replies)


def _replies(error: MessageRefused) -> list[tuple[int, str]]:
    original = error.original
    if isinstance(original, smtplib.SMTPRecipientsRefused):
        return [(code, _text(reply)) for code, reply in original.recipients.values()]
    if isinstance(original, smtplib.SMTPResponseException):
        return [(original.smtp_code, _text(original.smtp_error))]
    refused = [(item.code, item.reply) for item in error.recipients if item.state == "refused"]
    return refused if error.phase == "rcpt" and refused else [(error.code, error.reply)]


def _text(text: object) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _is_about_configuration(code: int, reply: str) -> bool:
    if code < 500 or _CONTENT.search(reply):
        return False
    if code in _LOGIN or _STATUSES.match(reply) or _CONFIGURATION.search(reply):
        return True
    # Without an enhanced status, 554 means that no message is accepted (RFC 5321 4.2.3).
    return code == 554 and not _STATUS.match(reply)
