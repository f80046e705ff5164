"""Where a message goes: the redirect decision first, then what carries it, and why."""

from dataclasses import dataclass

from wagtail_smtp.categories import ALERT
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import is_email_address, with_current_domains
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.exceptions import RedirectError

#: Sources of a redirect.
FORCED = "settings"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Everybody who is to receive a message instead of its recipients, and who says so.

    ``source`` is the name of a set, or :data:`FORCED`.
    """

    addresses: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Route:
    """What carries a message, best first (None is standard delivery), and why."""

    category: str
    candidates: tuple[SettingsSetConfig | None, ...]
    why: str
    redirect: Redirect | None = None


def route(configuration: Configuration, category: str) -> Route:
    """Decide redirect and candidates for mail of ``category``.

    Raises:
        RedirectError: it must be redirected, but there is no valid address.
    """
    redirect = redirect_for(configuration, category)
    if configuration.method == "standard":
        return Route(category, (None,), "method", redirect)
    if category in conf.STANDARD_CATEGORIES:
        return Route(category, (None,), "standard category", redirect)
    sets = configuration.carriers(category)
    if not sets:
        return Route(category, (None,), "no set applies", redirect)
    # An alert tells of servers that fail, so it may leave where no other mail does.
    last: tuple[None, ...] = (None,) if conf.FALLBACK_TO_STANDARD or category == ALERT else ()
    return Route(category, (*sets, *last), "first set that applies", redirect)


def redirect_for(configuration: Configuration, category: str) -> Redirect | None:
    """Who receives mail of ``category`` instead of its recipients; None: nobody does.

    Decided once per message, before candidates, and holding over all of them.

    Raises:
        RedirectError: a redirect is on, but it has no valid address.
    """
    forced = conf.forced_redirect()
    if forced is not None:
        return _usable(forced, FORCED)
    item = configuration.redirecting_set(category)
    return None if item is None else _usable(item.report_addresses, item.name)


def _usable(addresses: tuple[str, ...], source: str) -> Redirect:
    valid = tuple(dict.fromkeys(with_current_domains(a) for a in addresses if is_email_address(a)))
    if not valid:
        raise RedirectError(
            f"All mail is redirected by {source}, but no valid report address is given there. "
            "Nothing was sent. Name one, or end the redirect."
        )
    return Redirect(valid, source)
