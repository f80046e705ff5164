"""Where a message goes: first the redirect, then the candidates, and why."""

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
    """The addresses that receive a message instead of its recipients, and the source.

    ``source`` is the name of a set, or :data:`FORCED`.
    """

    addresses: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Route:
    """The candidates for a message, best first (None is standard delivery), and why."""

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
    # An alert reports failing servers, so it may use standard delivery when other mail may not.
    last: tuple[None, ...] = (None,) if conf.FALLBACK_TO_STANDARD or category == ALERT else ()
    return Route(category, (*sets, *last), "first set that applies", redirect)


def redirect_for(configuration: Configuration, category: str) -> Redirect | None:
    """Return the redirect for mail of ``category``; None: there is none.

    Decided once per message, before the candidates, and applied to all of them.

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
