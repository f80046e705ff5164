"""What the listing shows for each set: its part in the live configuration, and changes."""

from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.translation import gettext as _

from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration
from wagtail_smtp.delivery.active_redirect import is_used, redirecting
from wagtail_smtp.exceptions import ReloadRefused
from wagtail_smtp.live.diff import UNNAMED, every_category
from wagtail_smtp.live.publish import Preview, preview
from wagtail_smtp.models import SettingsSet
from wagtail_smtp.transports.esp.catalog import label


@dataclass(frozen=True)
class Redirect:
    """The listing's text about a set's redirect, and whether it has an effect."""

    text: str = ""
    state: str = ""
    first_would_help: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether the redirect does less than people would expect."""
        return self.state in ("none", "some")


@dataclass(frozen=True)
class Overview:
    """The state of all sets, computed once per page."""

    plan: Preview | None
    refusal: str = ""

    @classmethod
    def now(cls):
        """The current state."""
        try:
            return cls(preview())
        except ReloadRefused as error:
            return cls(None, str(error))

    @property
    def live(self) -> Configuration:
        """The live configuration."""
        return self.plan.before if self.plan else Configuration()

    @property
    def waiting(self) -> int:
        """How many changes are not live yet."""
        return len(self.plan.changes) if self.plan else 0

    @property
    def deleted_but_live(self):
        """Names of the sets that are deleted but still live."""
        known = {str(key) for key in SettingsSet.objects.values_list("key", flat=True)}
        return [item.name for item in self.live.sets if item.key not in known]

    def in_use(self, item: SettingsSet) -> str:
        """The part the set plays in the live configuration."""
        live = self.live
        key = str(item.key)
        if key not in live.by_key():
            return _("Not live") if item.enabled else _("Off")
        if live.method == "standard":
            return _("Not used: standard delivery")
        config = live.by_key()[key]
        categories = set(every_category(live)) - conf.STANDARD_CATEGORIES
        carriers = {category: live.carriers(category) for category in categories}
        first = sorted(c for c in categories if carriers[c] and carriers[c][0] == config)
        if first and config.categories:
            return _("Only for %s") % ", ".join(first)
        if first:
            is_all = len(first) == len(categories)
            return _("First choice") if is_all else _("First choice for all other email")
        is_backup = any(config in items for items in carriers.values())
        if is_backup:
            return _("Backup")
        # The first set redirects all email, whichever set sends it.
        return _("Only redirects") if is_used(live, config) else _("Not used")

    def is_carrying(self, item: SettingsSet) -> bool:
        """Whether live email is sent through the set, or may be."""
        config = self.live.by_key().get(str(item.key))
        return config is not None and is_used(self.live, config)

    def redirect(self, item: SettingsSet) -> Redirect:
        """The effect of the set's redirect, saved and live."""
        key = str(item.key)
        config = self.live.by_key().get(key)
        now = redirecting(self.live, config).categories if config and config.redirect else ()
        if not item.redirect:
            return Redirect(_("Off – still on until you reload"), "waiting") if now else Redirect()
        if conf.forced_redirect() is not None:
            return Redirect(_("On – the project's settings redirect instead"), "other")
        if not item.enabled:
            if now:
                return Redirect(_("On – until you reload"), "waiting")
            return Redirect(_("On – no effect (set is off)"), "off")
        if self.plan is None or key not in self.plan.target.by_key():
            return Redirect(_("On"), "unknown")
        return self._saved_redirect(self.plan.target, key, now)

    @staticmethod
    def _saved_redirect(saved: Configuration, key: str, now: tuple[str, ...]) -> Redirect:
        does = redirecting(saved, saved.by_key()[key])
        if not does.categories:
            if does.source and not does.reached:
                return Redirect(_("On – “%s” redirects first") % does.source, "other")
            is_fixable = saved.method == "custom"
            return Redirect(_("On – no effect"), "none", is_fixable)
        if set(does.categories) - set(now):
            return Redirect(_("On – not live yet"), "waiting", bool(does.reached))
        if not does.reached:
            return Redirect(_("On"), "all")
        named = [category_label(c) for c in does.categories if c != UNNAMED]
        return Redirect(_("On – only for %s") % ", ".join(named), "some", True)

    def changes(self, item: SettingsSet) -> str:
        """What a reload would change about the set; empty if nothing."""
        if self.plan is None:
            return ""
        if any(p.field == "password" and p.set_name == item.name for p in self.plan.problems):
            return _("Secret unreadable")
        if any(p.field == "oauth_consent" and p.set_name == item.name for p in self.plan.problems):
            return _("Consent missing")
        kinds = {change.key: change.kind for change in self.plan.changes}
        kind = kinds.get(str(item.key))
        if kind is None:
            return ""
        if kind in ("added", "on"):
            return _("Not live yet")
        return _("Switched off, not live yet") if kind == "off" else _("Changed")


def transport(item):
    """How its email is sent."""
    return "SMTP" if item.transport == "smtp" else _("Email provider")


def host(item):
    """The server or email provider."""
    if item.transport != "smtp":
        return label(item.transport)
    if item.authentication == SettingsSet.Authentication.DEFAULT:
        return _("standard delivery")
    return format_html("<bdi>{}:{}</bdi>", item.host, item.port)


def sender(item):
    """The sender of its email."""
    name, address = item.sender_name, item.sender_address
    shown = f"{name} <{address}>" if name and address else name or address
    return format_html("<bdi>{}</bdi>", shown) if shown else ""
