"""The redirect that is in force, over all categories."""

from dataclasses import dataclass

from wagtail_smtp.configuration import Configuration
from wagtail_smtp.delivery.candidates import redirect_for
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.live.changes import every_category


@dataclass(frozen=True, slots=True)
class InForce:
    """What is redirected, and where to.

    Attributes:
        addresses: who receives it.
        sources: who says so: names of sets, or :data:`~.candidates.FORCED`.
        is_all: no mail reaches its own recipients.
        is_blocked: there is no valid address for some of it, which is not sent at all.
    """

    addresses: tuple[str, ...]
    sources: tuple[str, ...]
    is_all: bool
    is_blocked: bool = False


def redirect_in_force(configuration: Configuration) -> InForce | None:
    """The redirect that holds for mail of any category; None: all mail reaches its recipients."""
    found, blocked = [], 0
    categories = every_category(configuration)
    for category in categories:
        try:
            redirect = redirect_for(configuration, category)
        except RedirectError:
            blocked += 1
            continue
        if redirect is not None:
            found.append(redirect)
    if not found and not blocked:
        return None
    return InForce(
        addresses=tuple(dict.fromkeys(a for redirect in found for a in redirect.addresses)),
        sources=tuple(dict.fromkeys(redirect.source for redirect in found)),
        is_all=len(found) + blocked == len(categories),
        is_blocked=bool(blocked),
    )
