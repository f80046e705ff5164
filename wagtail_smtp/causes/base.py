"""A failed delivery as plain values, and a cause that may explain it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wagtail_smtp.conf import conf
from wagtail_smtp.exceptions import AttemptFailed

#: Characters of a response that are searched, so that a hostile server can't make that slow.
_LONGEST_REPLY = 1000


def without_prefix(text: str) -> str:
    """The text of one of our errors, without the set's name and the phase."""
    return re.sub(r"^.*?: failed at \w+: ", "", text, count=1, flags=re.DOTALL)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, with the server's ``host``, ``port`` and ``encryption``.

    Attributes:
        uses_esp: whether the set uses an email provider's API instead of SMTP.
        uses_oauth: whether the login uses OAuth 2.
        is_mailbox: whether it is about the mailbox for bounces.
        is_configured: False for standard delivery if the project doesn't set a server.
        message: the plugin's own text, if the server gave no code.
    """

    phase: str = ""
    code: int = 0
    reply: str = ""
    cause: BaseException | None = None
    error: BaseException | None = None
    host: str = ""
    port: int = 0
    encryption: str = ""
    uses_esp: bool = False
    uses_oauth: bool = False
    is_mailbox: bool = False
    is_configured: bool = True
    message: str = ""

    @classmethod
    def of(
        cls,
        error: BaseException,
        host: str,
        port: int,
        encryption: str,
        *,
        uses_esp: bool = False,
        uses_oauth: bool = False,
        is_mailbox: bool = False,
    ) -> "Failure":
        """The failure that ``error`` describes."""
        failed = error if isinstance(error, AttemptFailed) else None
        return cls(
            phase=failed.phase if failed else "",
            code=failed.code if failed else 0,
            reply=failed.reply[:_LONGEST_REPLY] if failed else "",
            cause=error.__cause__,
            error=error,
            host=host.lower(),
            port=port,
            encryption=encryption,
            uses_esp=uses_esp,
            uses_oauth=uses_oauth,
            is_mailbox=is_mailbox,
            message="" if failed and failed.code else without_prefix(str(error)),
        )

    @property
    def is_rejection(self) -> bool:
        """Whether the server answered with an error code."""
        return self.code >= 400

    @property
    def is_timeout(self) -> bool:
        """Whether the server didn't answer in time."""
        return isinstance(self.cause, TimeoutError) or "timed out" in self.message

    @property
    def is_connection_lost(self) -> bool:
        """Whether the connection ended before the server answered."""
        return self.code == 0 and (isinstance(self.cause, OSError) or self.phase == "auth")

    def says(self, *patterns: str) -> bool:
        """Whether the server's response matches one of the regular expressions."""
        return any(re.search(pattern, self.reply, re.IGNORECASE) for pattern in patterns)

    def has(self, *codes: str) -> bool:
        """Whether the response starts with one of the enhanced status codes (RFC 3463)."""
        return any(re.match(rf"{re.escape(code)}(?!\d)", self.reply) for code in codes)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a delivery failed, and how to fix it.

    Attributes:
        slug: the anchor in the documentation, and the name for ``smtp_resend --cause``.
        advice: what to do.
        more: likely reasons, or steps.
        example: a real server's response.
        guide: whether the guide for Microsoft and Google helps.
    """

    slug: str
    title: Any
    advice: Any
    fits: Callable[[Failure], bool]
    more: tuple[Any, ...] = ()
    example: str = ""
    guide: bool = False

    @property
    def page(self) -> str:
        """Where the documentation describes it."""
        return conf.documentation(f"reference/causes.html#{self.slug}")
