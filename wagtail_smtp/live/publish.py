"""Make a configuration live: preview it, find its problems and apply it."""

import hashlib
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from wagtail.log_actions import log

from wagtail_smtp import signals
from wagtail_smtp.conf import VERSIONS_KEPT, conf
from wagtail_smtp.config import validation
from wagtail_smtp.config.values import Configuration, Problem
from wagtail_smtp.exceptions import (
    RedirectNotPermitted,
    RedirectWouldEnd,
    ReloadOutdated,
    ReloadRefused,
    SecretError,
)
from wagtail_smtp.live import consents, environments, set_secrets
from wagtail_smtp.live.db import connections
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.live.diff import (
    FieldChange,
    RedirectChange,
    SetChange,
    difference,
    every_kind,
    redirect_change,
)
from wagtail_smtp.live.resolve import (
    draft_configuration,
    live_version,
    transport_config,
    version_configuration,
)
from wagtail_smtp.models import ConfigurationVersion, DeliverySettings, Secret, SettingsSet
from wagtail_smtp.transports.esp import catalog as esp_config

logger = logging.getLogger(__name__)

#: A set's fields that refer to stored secrets.
SECRETS = ("secret", "webhook_secret")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a reload, or making a version live again, would change.

    ``token`` identifies the preview: a reload with it is refused if anything has changed since.
    """

    live: ConfigurationVersion | None
    before: Configuration
    target: Configuration
    changes: tuple[SetChange, ...]
    #: Saved changes that are not live yet and that making an earlier version live would undo.
    lost: tuple[SetChange, ...]
    redirect: RedirectChange
    problems: tuple[Problem, ...]
    token: str
    #: The environment that the live version comes from, if it isn't this one: email is held.
    held_from: str = ""
    #: Whether email that is held now would reach real people.
    starts_sending: bool = False

    @property
    def has_changes(self) -> bool:
        """Whether anything would change."""
        return bool(self.changes or self.lost or self.held_from)


def preview(again: ConfigurationVersion | None = None) -> Preview:
    """Preview a reload, or making the version ``again`` live again.

    Raises:
        ReloadRefused: a version has a format that this release doesn't know, or the name of this
            environment is not valid.
    """
    live = live_version()
    draft = draft_configuration()
    try:
        before = version_configuration(live)
        target = draft if again is None else version_configuration(again)
        here = conf.environment()
    except ValueError as error:
        raise ReloadRefused(
            _("A version was written by a newer release of this plugin: %s") % error
        ) from error
    except ImproperlyConfigured as error:
        raise ReloadRefused(str(error)) from error
    waiting = consents.waiting(target.sets)
    state = (live.identity if live else None, here, draft.digest(), target.digest(), waiting)
    held_from = environments.origin(live.environment) if live else ""
    return Preview(
        live=live,
        before=before,
        target=target,
        changes=changes_to(before, target),
        lost=_lost(before, draft, target),
        redirect=redirect_change(before, target),
        problems=tuple(_problems(target)),
        token=hashlib.sha256(repr(state).encode()).hexdigest(),
        held_from=held_from,
        starts_sending=bool(held_from) and _reaches_people(target),
    )


def _reaches_people(target: Configuration) -> bool:
    """Whether any email isn't redirected."""
    if conf.forced_redirect() is not None:
        return False
    return any(target.redirecting_set(*kind) is None for kind in every_kind(target))


def changes_to(before: Configuration, target: Configuration) -> tuple[SetChange, ...]:
    """List what a reload to ``target`` changes, including consents that wait for it."""
    known = _known() if before.by_key().keys() != target.by_key().keys() else ()
    changes = {change.key: change for change in difference(before, target, known)}
    waiting = consents.waiting(target.sets)
    for item in target.sets:
        if item.key in waiting:
            consent = FieldChange(_("Consent (OAuth 2)"), "", _("new"))
            change = changes.get(item.key, SetChange("changed", item.name, item.key))
            changes[item.key] = replace(change, fields=(*change.fields, consent))
    return tuple(changes.values())


def _known() -> set[str]:
    """The keys of existing sets that are in a stored version."""
    keys = {str(key) for key in SettingsSet.objects.values_list("key", flat=True)}
    contents = ConfigurationVersion.objects.values_list("content", flat=True)
    return keys & {item["key"] for content in contents for item in _sets_in(content)}


def _lost(
    before: Configuration, draft: Configuration, target: Configuration
) -> tuple[SetChange, ...]:
    """The saved changes that are not live and that ``target`` doesn't contain."""
    if draft == target:
        return ()
    saved, wanted = draft.by_key(), target.by_key()
    is_order_lost = [key for key in saved if key in wanted] != [
        key for key in wanted if key in saved
    ]
    return tuple(
        change
        for change in difference(before, draft, _known())
        if (
            draft.method != target.method
            if change.kind == "method"
            else is_order_lost or saved.get(change.key) != wanted.get(change.key)
        )
    )


def reload(
    user: Any = None,
    *,
    token: str | None = None,
    end_redirect: bool = False,
    may_redirect: bool = True,
    reason: str = "",
) -> ConfigurationVersion | None:
    """Make the saved sets live, in one transaction.

    Args:
        token: the token of the preview that the user confirmed; None: apply the current state.
        end_redirect: whether the user confirmed that email may go to real people again.
        may_redirect: whether the user may start a redirect or change its addresses.
        reason: stored with the version.

    Returns:
        The new version; None if there was nothing to change.

    Raises:
        ReloadRefused: or a subclass; the current version stays live.
    """
    return _apply(None, user, token, end_redirect, may_redirect, reason)


def make_live(
    version: ConfigurationVersion,
    user: Any = None,
    *,
    token: str | None = None,
    end_redirect: bool = False,
    may_redirect: bool = True,
) -> ConfigurationVersion | None:
    """Restore the sets of ``version`` and make them live again.

    Arguments, return value and errors are as in :func:`reload`.
    """
    reason = _("Version %d made live again") % version.number
    return _apply(version, user, token, end_redirect, may_redirect, reason)


@in_transaction
def _apply(
    again: ConfigurationVersion | None,
    user: Any,
    token: str | None,
    end_redirect: bool,
    may_redirect: bool,
    reason: str,
) -> ConfigurationVersion | None:
    DeliverySettings.lock()
    plan = preview(again)
    _check(plan, token, end_redirect, may_redirect)
    if not plan.has_changes and plan.live is not None:
        return None
    if again is not None:
        put_back(plan.target, user)
    version = _write(plan, user, reason)
    set_secrets.confirm(plan.target.sets)
    environments.hold_messages()
    consents.apply_waiting(plan.target.sets)
    _discard_old()
    transaction.on_commit(lambda: _announce(version, user), using=connections.write_alias())
    return version


def _check(plan: Preview, token: str | None, end_redirect: bool, may_redirect: bool) -> None:
    if token is not None and token != plan.token:
        raise ReloadOutdated(
            _("The settings or the live version have changed since you opened this page.")
        )
    if plan.problems:
        raise ReloadRefused(
            _("The new settings can't go live. The current settings are still used."),
            plan.problems,
        )
    if plan.redirect.started and not may_redirect:
        raise RedirectNotPermitted(
            _("This would redirect email to %s. You need permission to redirect email.")
            % ", ".join(plan.redirect.started)
        )
    if plan.starts_sending and not end_redirect:
        raise RedirectWouldEnd(
            _(
                "The live settings come from “%s”, so no email is sent here now. After this, email "
                "from here will go to real people."
            )
            % plan.held_from
        )
    if plan.redirect.ended and not end_redirect:
        raise RedirectWouldEnd(
            _("This turns the redirect off. Email that now goes to %s will go to real people.")
            % ", ".join(plan.redirect.ended)
        )


def _problems(target: Configuration) -> Iterator[Problem]:
    stored = Secret.objects.in_bulk([item.secret for item in target.sets if item.secret])
    for each in stored.values():
        if each.revoked_at is not None:
            # Only the live version may still use it.
            each.ciphertext = ""
    for item in target.sets:
        yield from validation.problems(item)
        yield from esp_config.problems(item)
        secret = stored.get(item.secret) if item.secret else None
        if secret and (refusal := set_secrets.refusal(item, secret.references)):
            yield Problem(refusal, "password", item.name, "elsewhere")
        try:
            config = transport_config(item, secret)
        except SecretError as error:
            yield Problem(error.why, "password", item.name, error.kind)
            continue
        if consents.is_consent_missing(item):
            text = _("No one has allowed this site to send email yet. Open it and press “Connect”.")
            yield Problem(text, "oauth_consent", item.name)
        if config.is_standard_server:
            found = validation.login_without_tls(config.encryption, config.host, config.username)
            yield from (problem.named(item.name) for problem in found)


def _write(plan: Preview, user: Any, reason: str) -> ConfigurationVersion:
    version = ConfigurationVersion(
        number=plan.live.number + 1 if plan.live else 1,
        content=plan.target.to_json(),
        created_by=user if getattr(user, "pk", None) else None,
        reason=reason[:200],
        environment=conf.environment(),
    )
    # Mark it before the insert: from then on, this connection sees the version.
    connections.mark_uncommitted(version.identity, connections.write_alias())
    version.save(force_insert=True, using=connections.write_alias())
    log(
        instance=version,
        action="wagtail_smtp.reload",
        user=version.created_by,
        data={"number": version.number, "changes": [str(change) for change in plan.changes]},
    )
    return version


def _discard_old() -> None:
    """Delete old versions, and secrets and tokens that are no longer used."""
    kept = list(ConfigurationVersion.objects.order_by("-number")[:VERSIONS_KEPT])
    for oldest in kept[-1:]:
        ConfigurationVersion.objects.filter(number__lt=oldest.number).delete()
    used = set[int]().union(*map(_secrets_of, kept))
    for name in SECRETS:
        used.update(SettingsSet.objects.exclude(**{name: None}).values_list(name, flat=True))
    Secret.objects.exclude(pk__in=used).delete()
    forget_revoked()
    consents.discard_unused(kept)


def _secrets_of(version: ConfigurationVersion) -> set[int]:
    sets = _sets_in(version.content)
    return {item[name] for item in sets for name in SECRETS if item.get(name)}


def _sets_in(content: Any) -> list[dict[str, Any]]:
    # A newer release may have used another format.
    return [item for item in content.get("sets", ()) if isinstance(item, dict) and "key" in item]


def forget_revoked() -> None:
    """Clear the ciphertext of removed secrets that the live version doesn't need."""
    live = live_version()
    needed = _secrets_of(live) if live else set()
    revoked = Secret.objects.filter(revoked_at__isnull=False).exclude(ciphertext="")
    revoked.exclude(pk__in=needed).update(ciphertext="")


def revoke(owner: Any) -> None:
    """Remove all passwords, keys and consents that were entered for the set with key ``owner``.

    Older versions can't use them any more; the live version keeps its own until the next reload.
    Delivery tracking secrets of existing sets are kept.
    """
    reports = SettingsSet.objects.exclude(webhook_secret=None).values("webhook_secret")
    entered = Secret.objects.filter(owner=owner, revoked_at=None)
    entered.exclude(pk__in=reports).update(revoked_at=timezone.now())
    forget_revoked()
    consents.revoke(owner)


def _announce(version: ConfigurationVersion, user: Any) -> None:
    logger.info("Version %d of the email configuration is live", version.number)
    signals.send_robustly(
        signals.configuration_reloaded, ConfigurationVersion, number=version.number, user=user
    )


def put_back(target: Configuration, user: Any) -> None:
    """Restore sets and delivery method from ``target``, and disable all other sets.

    Call it in the transaction that holds the lock of :class:`DeliverySettings`.
    """
    method = DeliverySettings.load()
    if method.method != target.method:
        method.method = target.method
        method.stamp(user)
        method.save()
    wanted = target.by_key()
    _free_names(target)
    others = SettingsSet.objects.exclude(key__in=wanted).order_by("sort_order", "pk")
    for position, item in enumerate(others, start=len(wanted)):
        item.sort_order = position
        if item.enabled:
            item.enabled = False
            item.stamp(user)
        item.save()
    stored = set(Secret.objects.values_list("pk", flat=True))
    for position, (key, config) in enumerate(wanted.items()):
        row = SettingsSet.objects.filter(key=key).first() or SettingsSet(key=uuid.UUID(key))
        # Keep the newest: the email provider uses it, and an older one would reject its events.
        reports = row.webhook_secret_id if row.transport == config.transport else None
        row.thaw(config)
        if row.secret_id not in stored:
            row.secret_id = None
        row.webhook_secret_id = reports or row.webhook_secret_id
        if row.webhook_secret_id not in stored:
            row.webhook_secret_id = None
        row.sort_order = position
        row.stamp(user)
        row.save()


def _free_names(target: Configuration) -> None:
    """Rename other sets that now have a name from ``target``."""
    wanted = {item.name.lower(): item.key for item in target.sets}
    for row in SettingsSet.objects.all():
        owner = wanted.get(row.name.lower())
        if owner is not None and owner != str(row.key):
            SettingsSet.objects.filter(pk=row.pk).update(name=free_name(row.name, wanted))


def free_name(name: str, taken: Any = ()) -> str:
    """Return ``name`` with a number, unused by any set and not in ``taken`` (lower case)."""
    used = {*taken, *(n.lower() for n in SettingsSet.objects.values_list("name", flat=True))}
    number = 2
    while f"{name[:90]} ({number})".lower() in used:
        number += 1
    return f"{name[:90]} ({number})"
