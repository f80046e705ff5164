"""Describe the difference between two configurations, set by set and field by field."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field
from django.utils.formats import number_format
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.config import oauth
from wagtail_smtp.config.references import labels
from wagtail_smtp.config.values import OTHER_SITE, Configuration, SettingsSetConfig, SiteSender
from wagtail_smtp.live import sites
from wagtail_smtp.models import DeliverySettings, Secret, SettingsSet
from wagtail_smtp.transports.esp.catalog import PROVIDERS, field_name
from wagtail_smtp.transports.esp.catalog import label as transport_label

ChangeKind = Literal["added", "on", "removed", "off", "changed", "moved", "method"]
#: A kind of email: a category, and the primary key of a site or ``OTHER_SITE``.
Kind = tuple[str, int]

KIND_LABELS = {
    "added": gettext_lazy("Added"),
    "on": gettext_lazy("Switched on"),
    "removed": gettext_lazy("Removed"),
    "off": gettext_lazy("Switched off"),
    "changed": gettext_lazy("Changed"),
    "moved": gettext_lazy("Moved"),
    "method": gettext_lazy("Changed"),
}

#: Represents all unnamed categories; no set can be limited to it.
UNNAMED = "-"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A changed field with its label and values; a changed secret has no values."""

    label: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.before or self.after:
            return f"{self.label}: {self.before or '–'} → {self.after or '–'}"
        return f"{self.label}: " + _("changed")


@dataclass(frozen=True, slots=True)
class SetChange:
    """A change to one set, or to the delivery method (then ``key`` is empty)."""

    kind: ChangeKind
    name: str
    key: str = ""
    fields: tuple[FieldChange, ...] = ()

    @property
    def kind_label(self) -> str:
        """The translated name of the kind."""
        return str(KIND_LABELS[self.kind])

    @property
    def summary(self) -> str:
        """The change in short, without the fields' values."""
        if self.kind != "changed":
            return str(self)
        labels = ", ".join(field.label for field in self.fields)
        return f"{self.name}: {self.kind_label} ({labels})"

    def __str__(self) -> str:
        if self.kind in ("added", "on"):
            return f"{self.name}: {self.kind_label}"
        parts = "; ".join(map(str, self.fields))
        return f"{self.name}: {self.kind_label}" + (f" ({parts})" if parts else "")


def difference(
    before: Configuration, after: Configuration, known: Collection[str] = ()
) -> tuple[SetChange, ...]:
    """List the changes from one configuration to the other, in the order of the sets.

    Args:
        known: keys of sets that exist in addition to those in ``before`` and ``after``. They are
            reported as switched on or off instead of added or removed.
    """
    return tuple(_changes(before, after, known))


def _changes(
    before: Configuration, after: Configuration, known: Collection[str]
) -> Iterator[SetChange]:
    if before.method != after.method:
        labels = dict(DeliverySettings.Method.choices)
        change = FieldChange(
            _("Delivery method"), str(labels[before.method]), str(labels[after.method])
        )
        yield SetChange("method", _("Delivery method"), fields=(change,))
    old, new = before.by_key(), after.by_key()
    stayed_old = [key for key in old if key in new]
    stayed_new = [key for key in new if key in old]
    for key, item in new.items():
        if key not in old:
            blank = SettingsSetConfig(key, item.name)
            values = tuple(replace(field, before="") for field in _field_changes(blank, item))
            values += (FieldChange(_("Position"), "", _place(after, key)),)
            yield SetChange("on" if key in known else "added", item.name, key, values)
            continue
        changed = tuple(_field_changes(old[key], item))
        # Those that only followed the set before them haven't moved.
        was_after, is_after = (
            each and each.key for each in (_previous(before, key), _previous(after, key))
        )
        moved = stayed_old.index(key) != stayed_new.index(key) and was_after != is_after
        if moved:
            changed += (FieldChange(_("Position"), _place(before, key), _place(after, key)),)
        if changed:
            kind: ChangeKind = "moved" if moved and len(changed) == 1 else "changed"
            yield SetChange(kind, item.name, key, changed)
    for key, item in old.items():
        if key not in new:
            yield SetChange("off" if key in known else "removed", item.name, key)


def _place(configuration: Configuration, key: str) -> str:
    # Not a number: the admin's listing also counts disabled sets, which versions don't contain.
    previous = _previous(configuration, key)
    return _("first") if previous is None else _("after “%s”") % previous.name


def _previous(configuration: Configuration, key: str) -> SettingsSetConfig | None:
    """Return the set before the one with this key."""
    previous = None
    for item in configuration.sets:
        if item.key == key:
            break
        previous = item
    return previous


def _field_changes(before: SettingsSetConfig, after: SettingsSetConfig) -> Iterator[FieldChange]:
    for field in fields(SettingsSetConfig):
        name = field.name
        old, new = getattr(before, name), getattr(after, name)
        # The tracking secret isn't used for sending, and applies without a reload.
        if name in ("key", "webhook_secret") or old == new:
            continue
        if name == "secret":
            yield from _secret_changes(before, after)
        elif name == "ca_certificates":
            # Browsers change line endings; that is not a change.
            if _lines(old) != _lines(new):
                yield _unshown(field_label(name), bool(_lines(old)), bool(_lines(new)))
        elif name == "provider":
            shown = (_provider_options(item) for item in (before, after))
            yield FieldChange(field_label(name), *shown)
        else:
            show = _SHOW.get(name, _plain)
            yield FieldChange(field_label(name), show(old), show(new))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def field_label(name: str) -> str:
    """The label of a set's field."""
    if name == "report_emails":
        return _("Report emails")
    if name == "site_senders":
        return _("Senders of sites")
    if name in ("secret", "password"):
        return _("Password")
    try:
        field = SettingsSet._meta.get_field(name)
    except FieldDoesNotExist:
        return _form_field_label(name)
    assert isinstance(field, Field)
    return str(capfirst(field.verbose_name))


def _form_field_label(name: str) -> str:
    # The options of email providers and OAuth 2 are form fields without a model field.
    for slug, provider in PROVIDERS.items():
        for option in provider.options:
            if name == field_name(slug, option.name):
                return str(option.label)
    return "OAuth 2" if name.startswith("oauth_") else ""


def _unshown(label: str, has_old: bool, has_new: bool) -> FieldChange:
    """A change whose values are too secret or too long to show."""
    if has_old and has_new:
        return FieldChange(label)
    stored = pgettext("a password or key", "set")
    return FieldChange(label, "", stored) if has_new else FieldChange(label, stored, _("removed"))


def _secret_changes(before: SettingsSetConfig, after: SettingsSetConfig) -> Iterator[FieldChange]:
    """The change of a secret: references are shown, values aren't."""
    label = secret_label(before if after.secret is None else after)
    keys = [before.secret or 0, after.secret or 0]
    references = dict(Secret.objects.filter(pk__in=keys).values_list("pk", "references"))
    old, new = (labels(references.get(key) or {}) for key in keys)
    if not old and not new:
        yield _unshown(label, before.secret is not None, after.secret is not None)
    elif old != new:
        stored = pgettext("a password or key", "set")
        yield FieldChange(
            label,
            old or (stored if before.secret is not None else ""),
            new or (stored if after.secret is not None else _("removed")),
        )


def secret_label(item: SettingsSetConfig) -> str:
    """The label of a set's password, client secret or keys."""
    if item.uses_esp:
        return _("Keys")
    is_oauth = item.authentication == "oauth2"
    return _("Client secret or key") if is_oauth else field_label("secret")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)


def _reports(value: Any) -> str:
    return ", ".join(
        report.address if report.enabled else _("%s (off)") % report.address for report in value
    )


def _sites(value: tuple[int, ...]) -> str:
    named = sites.names(sites.known()) if value else {}
    return ", ".join(sites.label(key, named) for key in value) or _("all sites")


def _site_senders(value: tuple[SiteSender, ...]) -> str:
    named = sites.names(sites.known()) if value else {}
    return ", ".join(
        f"{sites.label(each.site, named)}: {_sender(each.name, each.address)}" for each in value
    )


def _sender(name: str, address: str) -> str:
    return f"{name} <{address}>" if name and address else name or address


def _provider_options(item: SettingsSetConfig) -> str:
    provider = PROVIDERS.get(item.transport)
    return provider.described(item.provider) if provider else str(item.provider or "")


def _megabytes(value: Any) -> str:
    return _("no limit") if value is None else _("%d MB") % value


def _limit(value: Any) -> str:
    return _("no limit") if value is None else number_format(value, force_grouping=True)


def _user(key: Any) -> str:
    if key is None:
        return _("the site's ADMINS")
    found = get_user_model()._default_manager.filter(pk=key).first()
    if found is None:
        return _("a deleted user")
    # Not every user model has get_full_name().
    return str(getattr(found, "get_full_name", str)() or found.get_username())


_SHOW: dict[str, Callable[[Any], str]] = {
    "report_emails": _reports,
    "transport": transport_label,
    "oauth": oauth.described,
    "categories": lambda value: ", ".join(value) or _("all mail"),
    "sites": _sites,
    "site_senders": _site_senders,
    "ignored_extensions": ", ".join,
    "max_size": _megabytes,
    "max_per_second": _limit,
    "max_per_minute": _limit,
    "max_per_hour": _limit,
    "max_per_day": _limit,
    "notify_user": _user,
    "bounce_separator": lambda value: str(dict(SettingsSet.BounceSeparator.choices)[value]),
    "mailbox_encryption": lambda value: str(dict(SettingsSet.Encryption.choices)[value]),
    "encryption": lambda value: str(dict(SettingsSet.Encryption.choices)[value]),
    "authentication": lambda value: str(dict(SettingsSet.Authentication.choices)[value]),
}


@dataclass(frozen=True, slots=True)
class RedirectChange:
    """How a new configuration changes the live redirect."""

    #: Report emails whose redirected email would go to real people again.
    ended: tuple[str, ...] = ()
    #: Report emails of redirects that start or get other addresses.
    started: tuple[str, ...] = ()


def redirect_change(before: Configuration, after: Configuration) -> RedirectChange:
    """Find redirects that end, start or get other addresses.

    Each category of each site is compared separately: a set for invoices may stop redirecting
    while all other email is still redirected.
    """
    ended: dict[str, None] = {}
    started: dict[str, None] = {}
    for kind in every_kind(before, after):
        old, new = _addresses(before, kind), _addresses(after, kind)
        if old and not new:
            ended.update(dict.fromkeys(old))
        if new and set(new) != set(old):
            # If addresses were only removed, the remaining ones receive the email.
            started.update(dict.fromkeys(sorted(set(new) - set(old) or new)))
    return RedirectChange(tuple(ended), tuple(started))


def every_category(*configurations: Configuration) -> list[str]:
    """All known categories, and :data:`UNNAMED` for all others."""
    named = {c for config in configurations for item in config.sets for c in item.categories}
    return sorted({*BUILT_IN, *conf.CATEGORIES, *named, UNNAMED})


def every_site(*configurations: Configuration) -> list[int]:
    """The primary keys of the sites that sets name, and ``OTHER_SITE`` for all others."""
    named = {
        key
        for config in configurations
        for item in config.sets
        for key in (*item.sites, *(sender.site for sender in item.site_senders))
    }
    return [*sorted(named), OTHER_SITE]


def every_kind(*configurations: Configuration) -> list[Kind]:
    """All kinds of email that may be treated differently."""
    categories = every_category(*configurations)
    return [(category, site) for site in every_site(*configurations) for category in categories]


def _addresses(config: Configuration, kind: Kind) -> tuple[str, ...]:
    item = config.redirecting_set(*kind)
    # Without an address, a redirect still keeps email from real people.
    return () if item is None else item.report_addresses or ("–",)
