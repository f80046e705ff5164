"""Read what a mail server reports in a message: bounces, delays, deliveries and complaints.

Pure functions of untrusted bytes. Standard reports (RFC 3464, RFC 6533, RFC 5965) are read here,
others by flufl.bounce. Each step is limited, whatever the message contains.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, message_from_string
from email.message import Message
from typing import Literal

from wagtail_smtp.delivery.log import entries
from wagtail_smtp.delivery.log.hard_bounces import is_no_such_mailbox
from wagtail_smtp.delivery.log.tracking_events import REASON
from wagtail_smtp.models.choices import Reported

#: Bytes that are read of a message. Reports come before the returned message.
MAX_SIZE = 256 * 1024
#: Bytes of a message that flufl.bounce searches.
_SEARCHED = 128 * 1024
#: Parts of a message, and recipients of a report, that are read.
_PARTS, _RECIPIENTS = 50, 500
#: Lines that may be boundaries. The parser needs a lot of time for each part.
_BOUNDARIES = 500
_ADDRESS = re.compile(r"[^\s<>,;:\"()]{1,64}@[^\s<>,;:\"()@]{1,255}")
#: Headers in which mail servers write the address that a message was delivered to.
ADDRESS_HEADERS = (
    "To",
    "Delivered-To",
    "X-Original-To",
    "Envelope-To",
    "X-Envelope-To",
    "X-Delivered-To",
    "Original-Recipient",
    "X-Failed-Recipients",
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a mail server reports about one recipient.

    Attributes:
        addresses: as sent, then as rewritten on its way; none: the report doesn't name it.
        reason: the enhanced status code (RFC 3463) and the server's response.
        suppresses: why the address must not be emailed again, as in tracking events; empty: it may.
    """

    addresses: tuple[str, ...]
    type: Reported
    reason: str = ""
    suppresses: Literal["", "bounced", "complained"] = ""


def parse(content: bytes) -> Message:
    """Parse the beginning of a message.

    Raises:
        RecursionError, ValueError, LookupError: it can't be parsed.
    """
    pieces = content[:MAX_SIZE].split(b"\n--", _BOUNDARIES)
    return message_from_bytes(b"\n--".join(pieces[:_BOUNDARIES]))


def receivers(message: Message) -> Iterator[str]:
    """Yield the addresses at which a message, or the one that it returns, may have arrived."""
    for name in ADDRESS_HEADERS:
        yield from _addresses(message, name)
    if is_feedback(message):
        # A complaint goes to another address: the sender is in the report or in the message.
        for part in map(_inner, _parts(message)):
            for name in ("Original-Mail-From", "Return-Path"):
                yield from _addresses(part, name)


def _addresses(message: Message, name: str) -> Iterator[str]:
    # Not with the standard library's parser: nested comments exhaust the stack.
    for value in message.get_all(name, [])[:10]:
        yield from _ADDRESS.findall(str(value)[:2000])


def is_feedback(message: Message) -> bool:
    """Whether the message is a complaint of a recipient (RFC 5965); only its headers are needed."""
    return "feedback-report" in str(message.get("Content-Type", "")).lower()


def reports(message: Message) -> tuple[Report, ...]:
    """What a message reports; empty if it is something else, such as an automatic reply."""
    found: list[Report] = []
    is_report = False
    for part in _parts(message):
        kind = part.get_content_type()
        if kind == "message/feedback-report":
            return tuple(_complaints(part))
        if kind in ("message/delivery-status", "message/global-delivery-status"):
            is_report = True
            found += filter(None, map(_report, _blocks(part)))
    if not is_report and _is_from_mail_server(message):
        found += _unusual(message)
    return tuple(found[:_RECIPIENTS])


def _parts(message: Message) -> Iterator[Message]:
    """Yield the message and its parts, but not those of a returned message."""
    waiting = [message]
    for _number in range(_PARTS):
        if not waiting:
            return
        part = waiting.pop(0)
        yield part
        payload = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            waiting += [each for each in payload if isinstance(each, Message)]


def _inner(part: Message) -> Message:
    """The message in a part, or its fields: the parser treats most types alike."""
    payload = part.get_payload()
    is_message = part.get_content_maintype() == "message"
    if is_message and isinstance(payload, list) and payload and isinstance(payload[0], Message):
        return payload[0]
    return part


def _blocks(part: Message) -> Iterator[Message]:
    """Yield the groups of fields in the body of a delivery status."""
    payload = part.get_payload()
    if isinstance(payload, list) and part.get_content_type() == "message/delivery-status":
        yield from (each for each in payload[: _RECIPIENTS + 1] if isinstance(each, Message))
        return
    inner = _inner(part)
    if inner.keys() and inner is not part:
        yield inner
    if inner is not part and (encoding := part["Content-Transfer-Encoding"]):
        inner["Content-Transfer-Encoding"] = encoding
    raw = inner.get_payload(decode=True)
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""
    for block in re.split(r"\r?\n\r?\n", text)[: _RECIPIENTS + 1]:
        yield message_from_string(block.strip())


def _report(block: Message) -> Report | None:
    """The report about one recipient (RFC 3464 2.3); None if the fields contain none."""
    fields = [_field(block, name) for name in ("Original-Recipient", "Final-Recipient")]
    addresses = tuple(dict.fromkeys(filter(None, map(_recipient, fields))))
    if not addresses:
        return None
    response = _field(block, "Diagnostic-Code").partition(";")[2].strip()
    status = _STATUS.search(_field(block, "Status")) or _STATUS.search(response)
    code = status[0] if status else ""
    kind = _type(_field(block, "Action").lower(), code, response)
    return _with_reason(addresses, kind, code, response) if kind else None


def _with_reason(addresses: tuple[str, ...], kind: Reported, status: str, response: str) -> Report:
    is_hard = kind == Reported.BOUNCED and is_no_such_mailbox(550, f"{status} {response}")
    text = response if status in response else f"{status} {response}".strip()
    reason = entries.clip(text, REASON)
    return Report(addresses, kind, reason, "bounced" if is_hard else "")


_STATUS = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")
#: Failures that don't mean that the address is wrong (RFC 3463): a full mailbox or a long message,
#: the server's system, the message's content, and policy, such as suspected spam.
_NOT_THE_ADDRESS = re.compile(r"5\.(2\.[23]|3\.\d+|6\.\d+|7\.\d+)\Z")


def _type(action: str, status: str, response: str) -> Reported | None:
    """The event for an action and a status."""
    if action in ("delayed", "delivered"):
        return Reported.DEFERRED if action == "delayed" else Reported.DELIVERED
    if action and action != "failed":
        return None  # "relayed" and "expanded" don't say whether it arrives
    if not action and not status.startswith("5"):
        return None
    is_permanent = status.startswith("5") if status else response.startswith("5")
    if not is_permanent or _NOT_THE_ADDRESS.match(status):
        return Reported.FAILED
    return Reported.BOUNCED


def _field(block: Message, name: str) -> str:
    # Folded lines, and a Header object if there are bytes that aren't ASCII.
    return " ".join(str(block.get(name, ""))[:2000].split())


def _recipient(value: str) -> str:
    """The address in a field such as ``rfc822; someone@example.com``; empty if there is none."""
    kind, separator, address = value.partition(";")
    address = address if separator else kind
    if kind.strip().lower() == "utf-8":
        address = _UNICODE.sub(_character, address)
    return normalized(address)


#: A character of an international address in a delivery status (RFC 6533 3).
_UNICODE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return chr(code) if code <= 0x10FFFF else ""


def normalized(address: str) -> str:
    """An address as the log has it; empty if it isn't one."""
    address = address.strip().strip("<>")
    if "@" not in address:
        return ""
    try:
        return str(entries.recipient(address, "").address)
    except ValueError:
        return ""


def _complaints(part: Message) -> Iterator[Report]:
    """The complaint in a feedback report (RFC 5965)."""
    fields = _inner(part)
    if _field(fields, "Feedback-Type").lower() not in ("abuse", "fraud", "virus"):
        return
    given = map(str, fields.get_all("Original-Rcpt-To", [])[:_RECIPIENTS])
    addresses = list(dict.fromkeys(filter(None, map(normalized, given))))
    for address in addresses:
        yield Report((address,), Reported.COMPLAINED, suppresses="complained")
    if not addresses:
        yield Report((), Reported.COMPLAINED, suppresses="complained")


#: Local parts from which mail servers send their notices.
_MAIL_SERVER = re.compile(
    r"\A(mailer-?daemon|postmaster|mail-?daemon|mdaemon|administrator|mailadmin)\b", re.IGNORECASE
)


def _is_from_mail_server(message: Message) -> bool:
    """Whether a mail server has written it, and not a person's automatic reply."""
    if message.get("X-Failed-Recipients"):
        return True
    return any(_MAIL_SERVER.match(each) for each in _addresses(message, "From"))


def _unusual(message: Message) -> Iterator[Report]:
    """The failures in a message that isn't a standard report."""
    from flufl.bounce import all_failures

    delayed, failed = all_failures(message)
    text = _text(message)
    status = _STATUS.search(text)
    code = status[0] if status else ""
    response = _line(text, status.start()) if status else ""
    for raw in sorted(failed | delayed)[:_RECIPIENTS]:
        address = normalized(raw.decode("ascii", "replace"))
        kind = Reported.DEFERRED
        if raw in failed:
            kind = _type("failed", code or "5.0.0", "") or Reported.FAILED
        if address:
            yield _with_reason((address,), kind, code, response)


def _text(message: Message) -> str:
    """The beginning of the notice itself, without the message that it returns."""
    part = next((each for each in _parts(message) if not each.is_multipart()), message)
    payload = part.get_payload(decode=True)
    text = payload[:_SEARCHED].decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    # qmail, Exim and older servers write both into one text.
    return re.split(r"\n-{2,} ?(?:Below|This is a copy)", text, maxsplit=1)[0]


def _line(text: str, position: int) -> str:
    return text[text.rfind("\n", 0, position) + 1 :].partition("\n")[0].strip()
