"""What is known of a failed delivery, and a cause with its remedy."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wagtail_smtp.exceptions import AttemptFailed

#: Where the causes are described at length.
DOCUMENTATION = "docs/problems.md"


def without_prefix(text: str) -> str:
    """What an error of ours says, without the name of the set and the phase."""
    return re.sub(r"^.*?: failed at \w+: ", "", text, count=1, flags=re.DOTALL)


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
    uses_oauth: bool = False
    #: What the plugin itself says, where the server gave no code.
    message: str = ""

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
            message="" if failed and failed.code else without_prefix(str(error)),
        )

    @property
    def is_rejection(self) -> bool:
        """Whether the server answered, with a no."""
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
        """Whether the server's words match one of the regular expressions."""
        return any(re.search(pattern, self.reply, re.IGNORECASE) for pattern in patterns)

    def has(self, *codes: str) -> bool:
        """Whether the reply begins with one of the enhanced status codes."""
        return any(re.match(rf"{re.escape(code)}(?!\d)", self.reply) for code in codes)


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause: ``slug`` names it in the documentation, ``advice`` says what to do.

    ``more`` has likely reasons and steps, ``example`` a real server's response, and ``guide`` says
    that the step-by-step guide for Microsoft and Google helps.
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
        """Its place in the documentation."""
        return f"{DOCUMENTATION}#{self.slug}"
