"""The project's Wagtail sites, and how people and settings files name them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _
from wagtail.models import Site

from wagtail_smtp.config.values import OTHER_SITE
from wagtail_smtp.live.db.connections import write_alias

#: Ports that an address on the web doesn't name.
_USUAL_PORTS = (80, 443)


@dataclass(frozen=True, slots=True)
class KnownSite:
    """A site; ``key`` is its primary key, and ``title`` may be empty."""

    key: int
    hostname: str
    port: int
    is_default: bool = False
    title: str = ""

    @property
    def address(self) -> str:
        """The hostname, with the port unless it is a usual one."""
        return self.hostname if self.port in _USUAL_PORTS else self.full_address

    @property
    def full_address(self) -> str:
        """The hostname with the port."""
        return f"{self.hostname}:{self.port}"


def known() -> tuple[KnownSite, ...]:
    """All sites: the default one first, then by hostname. Not cached: one query."""
    rows = Site.objects.using(write_alias()).order_by("-is_default_site", "hostname", "port")
    return tuple(KnownSite(*row) for row in rows.values_list(*_FIELDS))


def default() -> KnownSite | None:
    """The default site; None if there is none. Not cached: one query."""
    rows = Site.objects.using(write_alias()).filter(is_default_site=True).order_by("pk")
    row = rows.values_list(*_FIELDS).first()
    return KnownSite(*row) if row else None


_FIELDS = ("pk", "hostname", "port", "is_default_site", "site_name")


def names(sites: Iterable[KnownSite]) -> dict[int, str]:
    """The address of each site by its key, with the port where the address isn't unique."""
    sites = tuple(sites)
    addresses = [site.address for site in sites]
    return {
        site.key: site.address if addresses.count(site.address) == 1 else site.full_address
        for site in sites
    }


def choices() -> list[tuple[int, str]]:
    """Each site with its address and its name, if it has one."""
    sites = known()
    named = names(sites)
    return [
        (each.key, f"{each.title} ({named[each.key]})" if each.title else named[each.key])
        for each in sites
    ]


def label(key: int, named: Mapping[int, str]) -> str:
    """A site for people.

    Args:
        named: from :func:`names`.
    """
    if key == OTHER_SITE:
        return _("any other site")
    return named.get(key) or _("a deleted site")


def find(address: str, sites: Iterable[KnownSite]) -> KnownSite:
    """Return the site with a hostname, or with a hostname and port.

    Raises:
        ValueError: there is none, or there are several; the text names them.
    """
    sites = tuple(sites)
    wanted = address.strip().lower()
    if exact := [site for site in sites if site.full_address.lower() == wanted]:
        return exact[0]
    same = [site for site in sites if site.hostname.lower() == wanted]
    usual = [site for site in same if site.port in _USUAL_PORTS] if len(same) > 1 else same
    if len(usual) == 1:
        return usual[0]
    if same:
        ports = ", ".join(site.full_address for site in same)
        raise ValueError(f"Several sites have the hostname “{address}”. Use one of: {ports}.")
    all_names = ", ".join(names(sites).values()) or "there are none"
    raise ValueError(f"There is no site “{address}” in Wagtail. Its sites: {all_names}.")
