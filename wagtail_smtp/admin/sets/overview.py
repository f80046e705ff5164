"""Describe saved sets in the admin: how they are used, what changes, and what has no effect."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import DELIVERY, LOG, PUT_FIRST, RELOAD, SETS, cached
from wagtail_smtp.admin.delivery.failures import LAST_DAY, of_sets
from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.admin.sets.managed import may_be_first
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration, Problem, SettingsSetConfig
from wagtail_smtp.delivery.explain import notices as explained
from wagtail_smtp.delivery.explain.redirects import redirecting
from wagtail_smtp.delivery.explain.routes import is_used
from wagtail_smtp.delivery.kinds import Part, described
from wagtail_smtp.diagnostics.usage import Usage, of_live_sets
from wagtail_smtp.exceptions import ReloadRefused
from wagtail_smtp.live import environments
from wagtail_smtp.live.diff import UNNAMED, Kind, every_kind
from wagtail_smtp.live.publish import Preview, preview
from wagtail_smtp.models import SettingsSet
from wagtail_smtp.transports.esp.catalog import label

#: What the listing says about a secret that can't be used, by its kind.
_SECRETS = {
    "stored": gettext_lazy("Secret unreadable"),
    "env": gettext_lazy("Variable unreadable"),
    "file": gettext_lazy("File unreadable"),
    "elsewhere": gettext_lazy("Secret of another server"),
    "missing": gettext_lazy("Secret missing"),
}


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
    def held_from(self) -> str:
        """The environment that the live version comes from, if it is another one."""
        return self.plan.held_from if self.plan else ""

    @property
    def is_held(self) -> bool:
        """Whether nothing is sent through the sets for that reason."""
        return environments.is_holding(self.held_from)

    @property
    def live_problems(self) -> tuple[Problem, ...]:
        """The problems that live sets have now, such as a variable that is missing here."""
        if self.plan is None:
            return ()
        changed = {change.name for change in self.plan.changes}
        names = {item.name for item in self.live.sets} - changed
        return tuple(each for each in self.plan.problems if each.set_name in names)

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
        config = live.by_key().get(str(item.key))
        if config is None:
            return _("Not live") if item.enabled else _("Off")
        if live.method == "standard":
            return _("Not used: standard delivery")
        carriers = {
            kind: live.carriers(*kind)
            for kind in every_kind(live)
            if kind[0] not in conf.STANDARD_CATEGORIES
        }
        first = [kind for kind, items in carriers.items() if items and items[0] == config]
        if first and (config.categories or config.sites):
            return _("Only for %s") % _only_for(config, first)
        if first:
            is_all = len(first) == len(carriers)
            return _("First choice") if is_all else _("First choice for all other email")
        if any(config in items for items in carriers.values()):
            return _("Backup") if config.backup else _("Overflow")
        # The first set redirects all email, whichever set sends it.
        return _("Only redirects") if is_used(live, config) else _("Not used")

    @cached_property
    def usage(self) -> dict[str, Usage]:
        """What the live sets with limits have used, by their key."""
        return {each.key: each for each in of_live_sets()} if self.plan else {}

    def limits(self, item: SettingsSet) -> str:
        """How much of the set's limits is used, in short; empty without any."""
        used = self.usage.get(str(item.key))
        if used is None:
            return ""
        text = _("Quota used up") if used.paused_until else str(used.fullest or "")
        return format_html("<bdi>{}</bdi>", text)

    def is_carrying(self, item: SettingsSet) -> bool:
        """Whether live email is sent through the set, or may be."""
        if self.is_held:
            return False
        config = self.live.by_key().get(str(item.key))
        return config is not None and is_used(self.live, config)

    def redirect(self, item: SettingsSet) -> Redirect:
        """The effect of the set's redirect, saved and live."""
        key = str(item.key)
        config = self.live.by_key().get(key)
        now = redirecting(self.live, config).kinds if config and config.redirect else ()
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
    def _saved_redirect(saved: Configuration, key: str, now: tuple[Kind, ...]) -> Redirect:
        does = redirecting(saved, saved.by_key()[key])
        if not does.kinds:
            if does.source and not does.reached:
                return Redirect(_("On – “%s” redirects first") % does.source, "other")
            is_fixable = saved.method == "custom"
            return Redirect(_("On – no effect"), "none", is_fixable)
        if set(does.kinds) - set(now):
            return Redirect(_("On – not live yet"), "waiting", bool(does.reached))
        if not does.reached:
            return Redirect(_("On"), "all")
        named = [part for part in does.parts if part.category != UNNAMED]
        return Redirect(_("On – only for %s") % described(named, category_label), "some", True)

    def changes(self, item: SettingsSet) -> str:
        """What a reload would change about the set; empty if nothing."""
        if self.plan is None:
            return ""
        problems = [problem for problem in self.plan.problems if problem.set_name == item.name]
        for problem in problems:
            if problem.secret:
                return str(_SECRETS[problem.secret])
        if any(problem.field == "oauth_consent" for problem in problems):
            return _("Consent missing")
        kinds = {change.key: change.kind for change in self.plan.changes}
        return {
            None: "",
            "added": _("Not live yet"),
            "on": _("Not live yet"),
            "off": _("Switched off, not live yet"),
        }.get(kinds.get(str(item.key)), _("Changed"))


def _only_for(config: SettingsSetConfig, kinds: list[Kind]) -> str:
    """What a limited set is the first choice for: categories, sites, or categories of sites."""
    categories = sorted({category for category, _site in kinds})
    sites = sorted({site for _category, site in kinds})
    kinds_named = described(map(Part, categories), category_label) if config.categories else ""
    sites_named = described(Part(site=site) for site in sites) if config.sites else ""
    if kinds_named and sites_named:
        return _("%(category)s (%(site)s)") % {"category": kinds_named, "site": sites_named}
    return kinds_named or sites_named


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


@dataclass(frozen=True)
class Notice:
    """A notice about a setting without effect, and where to fix it.

    Attributes:
        kind: where ``url`` leads to: ``reload``, ``method`` (the delivery method), ``order`` (the
            list of sets); ``first`` with ``put_first_url``; empty: nowhere.
        put_first_url: a POST to it moves the set to the first position.
    """

    text: str
    status: str
    kind: str = ""
    put_first_url: str = ""
    url: str = ""


def notices(
    configuration: Configuration,
    user,
    *,
    saved: Configuration | None = None,
    key="",
    is_held=False,
):
    """Return the notices of a configuration, with the links that ``user`` may follow.

    Args:
        saved: the saved sets, if ``configuration`` is something else. A notice that doesn't apply
            to them only needs a reload.
        key: of the only set to return notices of.
        is_held: whether email is held, so that nothing is sent before a reload.
    """
    unfixed = explained.notices(configuration if saved is None else saved)
    found = [
        notice for notice in explained.notices(configuration) if not key or notice.key in ("", key)
    ]
    pks = {}
    if found and user.has_perm(permissions.CHANGE_SETS):
        pks = {str(item.key): item.pk for item in SettingsSet.objects.all() if may_be_first(item)}
    return [
        _notice(each, each.text(category_label, is_held=is_held), pks.get(each.key), user,
                each not in unfixed)
        for each in found
    ]  # fmt: skip


def _notice(notice: explained.Notice, text: str, pk, user, is_fixed: bool) -> Notice:
    status = "critical" if notice.kind == "redirect" else "warning"
    if is_fixed and user.has_perm(permissions.RELOAD):
        return Notice(text, status, "reload", url=reverse(RELOAD))
    if notice.reason == "method" and user.has_perm(permissions.CHANGE_METHOD):
        url = reverse(DELIVERY) + "#method"
        return Notice(text, status, "method", url=url)
    if notice.reason == "method" or pk is None:
        return Notice(text, status)
    if notice.first_would_help:
        return Notice(text, status, "first", put_first_url=reverse(PUT_FIRST, args=[pk]))
    return Notice(text, status, "order", url=reverse(SETS))


def failing(request, item=None):
    """Return the context for the failures of the settings set ``item``, or of all sets."""
    user = request.user
    may_see_log = user.has_perm(permissions.VIEW_LOG)
    if not (may_see_log or permissions.may_see(user)):
        return {"notes": []}
    since = timezone.now() - LAST_DAY
    found = cached("wagtail_smtp.failing", 30, lambda: of_sets(since))
    sets = SettingsSet.objects.filter(key__in=found) if item is None else [item]
    return {
        "notes": [(each, found[str(each.key)]) for each in sets if str(each.key) in found],
        "is_listing": item is None,
        "may_see_log": may_see_log,
        "may_change": user.has_perm(permissions.CHANGE_SETS),
        "log_url": reverse(LOG),
    }
