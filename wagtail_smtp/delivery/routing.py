"""Where email of a category goes: the redirect, and the candidates in order."""

from dataclasses import dataclass

from wagtail_smtp.categories import ALERT
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import is_email_address, with_current_domains
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.transports import standard

#: The source of a redirect that the project's settings or the environment force.
FORCED = "settings"

#: Standard delivery as a candidate. It has no key, no limit and no sender of its own.
STANDARD_DELIVERY = SettingsSetConfig(key="", name=standard.NAME, transport="standard")


@dataclass(frozen=True, slots=True)
class Redirect:
    """The addresses that receive a message instead of its recipients, and the source.

    ``source`` is the name of a set, or :data:`FORCED`.
    """

    addresses: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Route:
    """The candidates for a message in order, and why.

    ``why`` is ``"method"``, ``"standard category"``, ``"no set applies"``, ``"first set that
    applies"``, or empty if nothing was decided.
    """

    category: str
    candidates: tuple[SettingsSetConfig, ...]
    why: str
    redirect: Redirect | None = None


def route(configuration: Configuration, category: str) -> Route:
    """Decide redirect and candidates for email of ``category``.

    Raises:
        RedirectError: a redirect is on but has no valid address.
    """
    redirect = redirect_for(configuration, category)
    if configuration.method == "standard":
        return Route(category, (STANDARD_DELIVERY,), "method", redirect)
    if category in conf.STANDARD_CATEGORIES:
        return Route(category, (STANDARD_DELIVERY,), "standard category", redirect)
    sets = configuration.carriers(category)
    if not sets:
        return Route(category, (STANDARD_DELIVERY,), "no set applies", redirect)
    # An alert reports failing servers, so it may use standard delivery when other email may not.
    if conf.FALLBACK_TO_STANDARD or category == ALERT:
        sets = (*sets, STANDARD_DELIVERY)
    return Route(category, sets, "first set that applies", redirect)


def redirect_for(configuration: Configuration, category: str) -> Redirect | None:
    """Return the redirect for email of ``category``, or None.

    It is decided once per message, before the candidates, and applies to all of them.

    Raises:
        RedirectError: a redirect is on but has no valid address.
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
            f"All email is redirected by {source}, which has no valid report email. "
            "Nothing was sent. Add a report email or end the redirect."
        )
    return Redirect(valid, source)
