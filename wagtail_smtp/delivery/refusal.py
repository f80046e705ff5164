"""Whether a server refused a message because of its own or the sender's configuration.

A wrong relay setting, a missing login or an SPF record refuses all mail alike, and once it is
fixed the same messages would be accepted: so they are kept, as failed ones are. An address that
doesn't exist and content that isn't wanted stay refused, and such messages are not kept.
"""

import re
import smtplib

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.passage import Passage
from wagtail_smtp.exceptions import MessageRefused
from wagtail_smtp.states import State

#: RFC 3463, and the IANA registry of enhanced status codes: the sender's address, the server's
#: system, the protocol, and security or policy.
_STATUSES = re.compile(r"5\.(1\.[78]|3\.\d+|5\.\d+|7\.\d+)\b")
_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}\b")
#: Login required, login refused, encryption required (RFC 4954).
_LOGIN = frozenset({530, 534, 535, 538})
_WORDS = re.compile(
    r"relay|rcpthosts|authenticat|log ?in\b|not (permitted|allowed|authori[sz]ed)|policy|sender"
    r"|\bspf\b|\bdkim\b|\bdmarc\b|black ?list|block ?list|reputation|reverse|\bptr\b|rdns",
    re.IGNORECASE,
)
_CONTENT = re.compile(r"\bspam\b|virus|malware|phish|content|attachment", re.IGNORECASE)


def is_kept(passage: Passage, state: str) -> bool:
    """Whether the message is stored whole, now that it is in that state for good."""
    if passage.classification.category == SECURITY:
        return False
    if conf.stores(state) or state != State.REFUSED or conf.STORE_MESSAGES != "undelivered":
        return conf.stores(state)
    failure = passage.failure
    return isinstance(failure, MessageRefused) and concerns_configuration(failure)


def concerns_configuration(error: MessageRefused) -> bool:
    """Whether the same message may be accepted once the server or the sender is set up right."""
    replies = _replies(error)
    return bool(replies) and all(_is_about_configuration(*reply) for reply in replies)


def _replies(error: MessageRefused) -> list[tuple[int, str]]:
    original = error.original
    if isinstance(original, smtplib.SMTPRecipientsRefused):
        return [(code, _text(words)) for code, words in original.recipients.values()]
    if isinstance(original, smtplib.SMTPResponseException):
        return [(original.smtp_code, _text(original.smtp_error))]
    refused = [(item.code, item.reply) for item in error.recipients if item.state == "refused"]
    return refused if error.phase == "rcpt" and refused else [(error.code, error.reply)]


def _text(words: object) -> str:
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)


def _is_about_configuration(code: int, words: str) -> bool:
    if code < 500 or _CONTENT.search(words):
        return False
    if code in _LOGIN or _STATUSES.match(words) or _WORDS.search(words):
        return True
    # Without a status of its own, 554 says that no message is accepted (RFC 5321 4.2.3).
    return code == 554 and not _STATUS.match(words)
