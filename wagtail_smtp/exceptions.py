"""The errors of the plugin.

::

    smtplib.SMTPException (an OSError)
    └── EmailDeliveryError            nothing below says "sent"
        ├── ConfigurationUnavailable  what is live can't be known now; a retry is safe
        ├── RedirectError             a redirect has no usable address; nothing was sent
        ├── SecretError               the set's password can't be used; nothing was sent
        │   ├── SecretUnreadable      wrong key, damaged or removed
        │   └── SecretBoundElsewhere  stored for another server or user
        ├── MessageUnreadable         a stored message can't be read back; nothing was sent
        │   └── MessageLocked         this process can't; one with its key or release can
        ├── ResendRefused             a message of the log may not be sent again
        ├── StorageFull               no room for another message; it was not accepted
        ├── DestinationRefused        the address may not be connected to; nothing was sent
        └── AttemptFailed             one server, with phase and its words
            ├── MessageDeferred       not taken this time; a retry is safe
            │   ├── TokenRefused      OAuth 2: no access token to log in with
            │   │   └── OAuthUnavailable  a TransportUnavailable too: the extra is missing
            │   └── TransportUnavailable  not in this process: a package is missing, a setting wrong
            ├── MessageRefused        the server said no for good; a retry won't help
            │   └── SendCancelled     a project's own receiver cancelled it; nothing was sent
            ├── MessageTooLarge       more than the server takes; nothing was sent
            ├── MessageUnsupported    this way can't carry such a message; nothing was sent
            └── MessageOutcomeUnknown handed over, no answer: a retry may send it twice

    Exception
    └── ReloadRefused                 the old version stays in force
        ├── ReloadOutdated            sets or version changed since they were shown
        ├── RedirectWouldEnd          mail would reach real people again: to be confirmed
        └── RedirectNotPermitted      starting or changing a redirect needs the permission

They inherit what callers of Django's mail functions already catch, so that
``except smtplib.SMTPException`` and ``except OSError`` go on working.
"""

import smtplib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wagtail_smtp.config.values import Problem, Recipient


class EmailDeliveryError(smtplib.SMTPException):
    """A message didn't leave, or may not have left."""

    #: Whether sending the same message again can't deliver it twice.
    retry_is_safe = True


class ConfigurationUnavailable(EmailDeliveryError):
    """The live configuration can't be read, and may redirect: nothing is sent on a guess.

    ``no_database`` says that nothing was ever read, because the table is missing or the
    database unreachable; error mail then goes by standard delivery.
    """

    def __init__(self, message: str, *, no_database: bool = False) -> None:
        super().__init__(message)
        self.no_database = no_database


class RedirectError(EmailDeliveryError):
    """All mail is redirected, but to no usable address: nothing was sent."""


class SecretError(EmailDeliveryError):
    """A stored secret can't be used."""


class SecretUnreadable(SecretError):
    """The secret was removed, is damaged, or was encrypted with a key that is gone."""


class SecretBoundElsewhere(SecretError):
    """The secret was stored for another server or user than it would now be sent to."""


class MessageUnreadable(EmailDeliveryError):
    """A stored message is gone, damaged, or encrypted with a key that is gone."""


class MessageLocked(MessageUnreadable):
    """This process lacks the key of a stored message, or is older than the message's format."""


class ResendRefused(EmailDeliveryError):
    """A message of the log may not be sent again."""


class StorageFull(EmailDeliveryError):
    """The stored messages would be larger than the quota, or one larger than a row can be."""


class DestinationRefused(EmailDeliveryError):
    """The plugin doesn't connect to that address."""


class AttemptFailed(EmailDeliveryError):
    """One try to hand a message to a server failed.

    Attributes:
        phase: where it failed: ``pool``, ``connect``, ``banner``, ``ehlo``, ``starttls``,
            ``tls``, ``auth``, ``size``, ``reset``, ``mail``, ``rcpt``, ``data``, ``body``,
            ``reply``, ``unsupported``, or ``standard`` for the project's own backend.
        code: the server's reply code, 0 if it gave none.
        reply: the server's words, cleaned of control characters.
        recipients: the state of each recipient, where they differ.
        original: what the project's own backend raised; its callers get that.

    All have defaults, so that errors can be pickled: task queues store them, processes pass
    them on.
    """

    def __init__(
        self,
        message: str,
        *,
        phase: str = "",
        code: int = 0,
        reply: str = "",
        recipients: "Sequence[Recipient]" = (),
        original: Exception | None = None,
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.code = code
        self.reply = reply
        self.recipients = tuple(recipients)
        self.original = original


class MessageDeferred(AttemptFailed):
    """The message was not taken this time."""


class TransportUnavailable(MessageDeferred):
    """This process can't use what carries the message: a package is missing, or a setting wrong."""


class TokenRefused(MessageDeferred):
    """OAuth 2: there is no access token to log in with, so nothing was sent.

    ``reason`` is one of :data:`wagtail_smtp.config.oauth.REASONS`, ``reply`` the provider's words.
    """

    def __init__(
        self, message: str, *, reason: str = "refused", phase: str = "auth", **values: Any
    ) -> None:
        super().__init__(message, phase=phase, **values)
        self.reason = reason


class OAuthUnavailable(TokenRefused, TransportUnavailable):
    """OAuth 2's libraries are not installed in this process."""


class MessageRefused(AttemptFailed):
    """The server refused the message or every recipient for good."""


class SendCancelled(MessageRefused):
    """A receiver of django-anymail's ``pre_send`` wants the message not to be sent."""


class MessageUnsupported(AttemptFailed):
    """Whatever carries it can't carry this kind of message; another set may."""


class MessageTooLarge(AttemptFailed):
    """The message is larger than the server takes."""


class MessageOutcomeUnknown(AttemptFailed):
    """The message was handed over whole and no reply came."""

    retry_is_safe = False


class ReloadRefused(Exception):
    """The sets can't become the live configuration.

    Attributes:
        problems: what is wrong, with the set and field it concerns.
    """

    def __init__(self, message: str, problems: "Sequence[Problem]" = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ReloadOutdated(ReloadRefused):
    """Something changed between what was shown and what would be applied."""


class RedirectWouldEnd(ReloadRefused):
    """Mail that is redirected now would reach real people, and nobody has confirmed that."""


class RedirectNotPermitted(ReloadRefused):
    """The user may reload, but not start a redirect or change its addresses."""
