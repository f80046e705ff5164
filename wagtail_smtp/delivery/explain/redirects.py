"""Explain the effect of redirects: of one settings set's, and of all together."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.delivery.explain.routes import first_choice
from wagtail_smtp.delivery.kinds import Part, joined
from wagtail_smtp.delivery.routing import redirect_for
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.live.diff import Kind, every_kind


@dataclass(frozen=True, slots=True)
class Redirecting:
    """The effect of a set's redirect.

    Attributes:
        kinds: the kinds of email that it redirects.
        parts: the same in as few parts as possible.
        reached: the kinds that nothing redirects, so their real recipients are reached.
        is_all: whether it redirects all email.
        through: the names of the sets that send email of the kinds in ``reached``.
        source: the name of the set that redirects the rest instead; empty: none does.
    """

    kinds: tuple[Kind, ...] = ()
    parts: tuple[Part, ...] = ()
    reached: tuple[Kind, ...] = ()
    is_all: bool = False
    through: tuple[str, ...] = ()
    source: str = ""


def redirecting(configuration: Configuration, item: SettingsSetConfig) -> Redirecting:
    """Return the effect of the redirect of ``item``, one of the configuration's sets.

    This ignores a redirect forced by the project's settings, which applies to all email.
    """
    own, reached, other = [], [], ""
    through: dict[str, None] = {}
    every = every_kind(configuration)
    for kind in every:
        found = configuration.redirecting_set(*kind)
        if found is item:
            own.append(kind)
        elif found is not None:
            other = found.name
        else:
            reached.append(kind)
            through.update(dict.fromkeys(first_choice(configuration, kind)))
    return Redirecting(
        tuple(own),
        joined(own, configuration),
        tuple(reached),
        len(own) == len(every),
        tuple(through),
        other,
    )


@dataclass(frozen=True, slots=True)
class ActiveRedirect:
    """What is redirected, and where to.

    Attributes:
        addresses: the report emails.
        sources: the names of the sets that redirect, or ``routing.FORCED``.
        is_all: whether no email reaches its real recipients.
        is_blocked: whether some email is not sent because there is no valid report email.
    """

    addresses: tuple[str, ...]
    sources: tuple[str, ...]
    is_all: bool
    is_blocked: bool = False

    @property
    def without_addresses(self) -> str:
        """A description for people who may not see the addresses."""
        if not self.is_blocked:
            if self.is_all:
                return _("All email is redirected. Nothing reaches its real recipients.")
            return _("Some email is redirected and doesn't reach its real recipients.")
        if self.is_all and not self.addresses:
            return _(
                "No email is being sent: it is redirected, but there is no valid report email."
            )
        return _(
            "Some email is not being sent: it is redirected, but there is no valid report email."
        )


def active_redirect(configuration: Configuration) -> ActiveRedirect | None:
    """The redirects of all kinds as one; None if all email reaches its real recipients."""
    found, blocked = [], 0
    every = every_kind(configuration)
    for kind in every:
        try:
            redirect = redirect_for(configuration, *kind)
        except RedirectError:
            blocked += 1
            continue
        if redirect is not None:
            found.append(redirect)
    if not found and not blocked:
        return None
    return ActiveRedirect(
        addresses=tuple(dict.fromkeys(a for redirect in found for a in redirect.addresses)),
        sources=tuple(dict.fromkeys(redirect.source for redirect in found)),
        is_all=len(found) + blocked == len(every),
        is_blocked=bool(blocked),
    )
