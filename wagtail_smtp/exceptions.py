"""The errors of the plugin.

::

    smtplib.SMTPException (an OSError)
    └── EmailDeliveryError            a message was not sent, or may not have been
        ├── ConfigurationUnavailable  the live configuration can't be read; a retry is safe
        │   └── EnvironmentMismatch   it comes from another environment; nothing was sent
        ├── RedirectError             a redirect has no valid address; nothing was sent
        ├── SecretError               the set's password can't be used; nothing was sent
        │   ├── SecretUnreadable      wrong key, damaged or removed
        │   │   └── ReferenceUnreadable  its environment variable or file can't be read
        │   └── SecretBoundElsewhere  saved for another server or user
        ├── MessageUnreadable         a stored message can't be read; nothing was sent
        │   └── MessageLocked         another process, with its key or release, can read it
        ├── RecipientsSuppressed      all recipients are on the suppression list; nothing was sent
        ├── ResendRefused             a message of the log may not be sent again
        ├── StorageFull               the message store is full; the message was not accepted
        ├── DestinationRefused        the address is not allowed; nothing was sent
        └── AttemptFailed             one attempt, with its phase and the server's response
            ├── MessageDeferred       not accepted this time; a retry is safe
            │   ├── TokenRefused      OAuth 2: no access token to log in with
            │   │   └── OAuthUnavailable  also a TransportUnavailable: the extra is missing
            │   ├── TransportUnavailable  a package is missing here, or a setting is wrong
            │   └── LimitReached      a sending limit or quota is used up; nothing was sent
            ├── MessageRefused        permanently refused; a retry won't help
            │   └── SendCancelled     a receiver in the project cancelled it; nothing was sent
            ├── MessageTooLarge       larger than the server accepts; nothing was sent
            ├── MessageUnsupported    this transport can't send such a message; nothing was sent
            └── MessageOutcomeUnknown sent without confirmation: a retry may send it twice

    Exception
    └── ReloadRefused                 the previous version stays live
        ├── ReloadOutdated            the sets or the version changed since they were shown
        ├── RedirectWouldEnd          email would reach real people again; confirm it
        └── RedirectNotPermitted      starting or changing a redirect requires the permission

They inherit what callers of Django's mail functions already catch, so ``except
smtplib.SMTPException`` and ``except OSError`` keep working.
"""

import smtplib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wagtail_smtp.config.values import Problem, Recipient


class EmailDeliveryError(smtplib.SMTPException):
    """A message was not sent, or may not have been."""

    #: Whether the message can be sent again without delivering it twice.
    retry_is_safe = True


class ConfigurationUnavailable(EmailDeliveryError):
    """The live configuration can't be read. It may contain a redirect, so nothing is sent.

    Attributes:
        no_database: whether nothing was ever read, because the table is missing or the database
            can't be reached. Error emails are then sent by standard delivery.
    """

    def __init__(self, message: str, *, no_database: bool = False) -> None:
        super().__init__(message)
        self.no_database = no_database


class EnvironmentMismatch(ConfigurationUnavailable):
    """The live version comes from another environment, so this database may be a copy.

    Nothing was sent. A retry is safe after someone reloaded the application here.
    """


class RedirectError(EmailDeliveryError):
    """A redirect is on but has no valid address. Nothing was sent."""


class SecretError(EmailDeliveryError):
    """A saved secret can't be used.

    Attributes:
        why: the message without the name of the settings set.
        kind: which one can't be used: ``stored``, ``env``, ``file`` or ``elsewhere``, which belongs
            to another destination; ``missing``: there is none.
    """

    kind = "stored"

    def __init__(self, message: str = "", *, why: str = "", kind: str = "") -> None:
        super().__init__(message)
        self.why = why or message
        self.kind = kind or self.kind


class SecretUnreadable(SecretError):
    """The secret was removed, is damaged, or was encrypted with a key that no longer exists."""


class ReferenceUnreadable(SecretUnreadable):
    """The environment variable or file that contains the secret is missing or can't be used."""


class SecretBoundElsewhere(SecretError):
    """The secret was saved for another server or user."""

    kind = "elsewhere"


class MessageUnreadable(EmailDeliveryError):
    """A stored message was removed, is damaged, or its encryption key no longer exists."""


class MessageLocked(MessageUnreadable):
    """This process has no key for a stored message, or is too old for its format."""


class RecipientsSuppressed(EmailDeliveryError):
    """All recipients are on the suppression list. Nothing was sent.

    It is in log entries and in the signal ``message_failed``, but never raised: as with email
    providers, a caller gets no error.
    """


class ResendRefused(EmailDeliveryError):
    """A message of the log may not be sent again."""


class StorageFull(EmailDeliveryError):
    """The message store is full, or a message is larger than a database row can be."""


class DestinationRefused(EmailDeliveryError):
    """The plugin is not allowed to connect to that address."""


class AttemptFailed(EmailDeliveryError):
    """One attempt to send a message failed.

    Attributes:
        phase: the step that failed: ``pool``, ``connect``, ``banner``, ``ehlo``, ``starttls``,
            ``tls``, ``auth``, ``size``, ``reset``, ``mail``, ``rcpt``, ``data``, ``body``,
            ``reply``, ``unsupported``, ``limit`` for a sending limit, or ``standard`` for the
            project's own backend.
        code: the server's reply code, 0 if it gave none.
        reply: the server's response, without control characters.
        recipients: the state of each recipient, if they differ.
        original: what the project's own backend raised; callers get this error.

    All arguments have defaults so that errors can be pickled, which task queues do.
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
    """The message was not accepted this time."""


class TransportUnavailable(MessageDeferred):
    """This process can't use the transport: a package is missing, or a setting is wrong."""


class TokenRefused(MessageDeferred):
    """OAuth 2: there is no access token to log in with. Nothing was sent.

    Attributes:
        reason: one of :data:`wagtail_smtp.config.oauth.REASONS`.
        reply: the identity provider's response.
    """

    def __init__(
        self, message: str, *, reason: str = "refused", phase: str = "auth", **values: Any
    ) -> None:
        super().__init__(message, phase=phase, **values)
        self.reason = reason


class OAuthUnavailable(TokenRefused, TransportUnavailable):
    """The libraries for OAuth 2 are not installed."""


class LimitReached(MessageDeferred):
    """A limit of the settings set, or a quota that its server reported, is used up.

    Nothing was sent. A retry is safe, and there is probably room after ``retry_after`` seconds.

    Attributes:
        period: ``second``, ``minute``, ``hour`` or ``day`` for a limit of the set, ``quota`` for
            one that its server or email provider reported. Empty: what was sent can't be counted,
            because the database isn't available.
        is_reported: whether the server reported it for this message. Otherwise it wasn't asked.
    """

    def __init__(
        self,
        message: str = "",
        *,
        period: str = "",
        retry_after: float = 0,
        is_reported: bool = False,
        phase: str = "limit",
        **values: Any,
    ) -> None:
        super().__init__(message, phase=phase, **values)
        self.period = period
        self.retry_after = retry_after
        self.is_reported = is_reported


class MessageRefused(AttemptFailed):
    """The server permanently refused the message or all recipients."""


class SendCancelled(MessageRefused):
    """A receiver of django-anymail's ``pre_send`` signal cancelled the message."""


class MessageUnsupported(AttemptFailed):
    """This transport can't send this kind of message; another settings set may."""


class MessageTooLarge(AttemptFailed):
    """The message is larger than the server accepts."""


class MessageOutcomeUnknown(AttemptFailed):
    """The whole message was sent, but no confirmation came."""

    retry_is_safe = False


class ReloadRefused(Exception):
    """The saved settings can't be made live.

    Attributes:
        problems: what is wrong, each with its set and field.
    """

    def __init__(self, message: str, problems: "Sequence[Problem]" = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ReloadOutdated(ReloadRefused):
    """The settings changed after they were shown for confirmation."""


class RedirectWouldEnd(ReloadRefused):
    """Redirected email would reach real people again, and this was not confirmed."""


class RedirectNotPermitted(ReloadRefused):
    """The user may reload, but may not start a redirect or change its addresses."""
