"""What is known of a failed delivery, and a cause with its remedy."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wagtail_smtp.exceptions import AttemptFailed

#: Where the causes are described at length.
DOCUMENTATION = "docs/problems.md"


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failure. ``port`` and ``security`` are those of the server.

    ``is_provider``: a provider by its own interface, no server by SMTP.
    """

    phase: str = ""
    code: int = 0
    reply: str = ""
    cause: BaseException | None = None
    error: BaseException | None = None
    host: str = ""
    port: int = 0
    security: str = ""
    is_provider: bool = False
    #: Whether the login was one with OAuth 2.
    by_token: bool = False

    @classmethod
    def of(cls, error: BaseException, host: str, port: int, security: str) -> "Failure":
        """That of an error which ended an attempt."""
        failed = error if isinstance(error, AttemptFailed) else None
        return cls(
            phase=failed.phase if failed else "",
            code=failed.code if failed else 0,
            reply=failed.reply if failed else "",
            cause=error.__cause__,
            error=error,
            host=host.lower(),
            port=port,
            security=security,
        )

    def says(self, *patterns: str) -> bool:
        """Whether the server's words match one of the regular expressions."""
        return any(re.search(pattern, self.reply, re.IGNORECASE) for pattern in patterns)

    def has(self, *codes: str) -> bool:
        """Whether the reply begins with one of the enhanced status codes."""
        return any(re.match(rf"{re.escape(code)}(?!\d)", self.reply) for code in codes)


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause: ``slug`` names it in the documentation, ``advice`` says what to do."""

    slug: str
    title: Any
    advice: Any
    fits: Callable[[Failure], bool]

    @property
    def page(self) -> str:
        """Its place in the documentation."""
        return f"{DOCUMENTATION}#{self.slug}"
