"""What the listing says of each set: its part in the live configuration, and what waits."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from wagtail_smtp.conf import conf
from wagtail_smtp.configuration import Configuration
from wagtail_smtp.exceptions import ReloadRefused
from wagtail_smtp.live.changes import every_category
from wagtail_smtp.live.reload import Preview, preview
from wagtail_smtp.models import SettingsSet


@dataclass(frozen=True)
class Overview:
    """The state of all sets, made once a page."""

    plan: Preview | None
    refusal: str = ""

    @classmethod
    def now(cls):
        """As things stand."""
        try:
            return cls(preview())
        except ReloadRefused as error:
            return cls(None, str(error))

    @property
    def live(self) -> Configuration:
        """What is in force."""
        return self.plan.before if self.plan else Configuration()

    @property
    def waiting(self) -> int:
        """How many changes are not live yet."""
        return len(self.plan.changes) if self.plan else 0

    @property
    def deleted_but_live(self):
        """Names of the sets that are gone but still in force."""
        known = {str(key) for key in SettingsSet.objects.values_list("key", flat=True)}
        return [item.name for item in self.live.sets if item.key not in known]

    def in_use(self, item: SettingsSet) -> str:
        """The part the set plays in the live configuration."""
        live = self.live
        key = str(item.key)
        if key not in live.by_key():
            return _("Not in use") if item.enabled else _("Off")
        if live.method == "standard":
            return _("Not in use: standard delivery")
        config = live.by_key()[key]
        categories = set(every_category(live)) - conf.STANDARD_CATEGORIES
        carriers = {category: live.carriers(category) for category in categories}
        first = sorted(c for c in categories if carriers[c] and carriers[c][0] == config)
        if first and config.categories:
            return _("Only for %s") % ", ".join(first)
        if first:
            is_all = len(first) == len(categories)
            return _("First choice") if is_all else _("First choice for other mail")
        is_backup = any(config in items for items in carriers.values())
        return _("Backup") if is_backup else _("Never reached")

    def changes(self, item: SettingsSet) -> str:
        """What a reload would do to the set; empty: nothing."""
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
        return _("Not live yet") if kind == "added" else _("Changed")
