"""Apply a settings file to the saved sets: everything or nothing."""

from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from wagtail.log_actions import log

from wagtail_smtp import live
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.config_files.file import SettingsFile
from wagtail_smtp.config_files.plan import Plan, PlannedSet, plan
from wagtail_smtp.exceptions import ReloadOutdated
from wagtail_smtp.live import consents, set_secrets
from wagtail_smtp.live.db import connections
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.live.publish import Preview, revoke
from wagtail_smtp.models import ConfigurationVersion, DeliverySettings, SettingsSet


@dataclass(frozen=True, slots=True)
class Options:
    """How to import a file.

    Attributes:
        source: the name of the project's own settings file, which manages its sets; else empty.
        prune: delete sets that the file doesn't contain.
        reload: make the result live.
        end_redirect: whether email may then go to real people again.
    """

    source: str = ""
    prune: bool = False
    reload: bool = False
    end_redirect: bool = False


@in_transaction
def apply(
    file: SettingsFile, options: Options, token: str, user: Any = None
) -> ConfigurationVersion | None:
    """Import a file in one transaction.

    Args:
        token: of the plan that was confirmed.

    Returns:
        The new live version, if there is one.

    Raises:
        FileRefused: the file doesn't go with the saved sets.
        ReloadOutdated: something has changed since the plan was shown.
        ReloadRefused: the result can't be made live, so nothing was imported.
    """
    method = DeliverySettings.lock()
    wanted = plan(file, source=options.source, prune=options.prune)
    if wanted.token != token:
        raise ReloadOutdated(
            _("The settings have changed since the comparison was shown. Nothing was imported.")
        )
    if wanted.changes:
        _write(wanted, method, user)
    if not options.reload:
        return None
    reason = f"smtp_import {file.document.name}"
    return live.reload(user, end_redirect=options.end_redirect, reason=reason)


@in_transaction
def preview(file: SettingsFile, options: Options, token: str) -> Preview:
    """Preview the reload after an import: do both, and roll them back.

    Arguments and errors are as in :func:`apply`.
    """
    apply(file, replace(options, reload=False), token)
    found = live.preview()
    live.reload(end_redirect=options.end_redirect)
    transaction.set_rollback(True, using=connections.write_alias())
    return found


def _write(wanted: Plan, method: DeliverySettings, user: Any) -> None:
    if method.method != wanted.method:
        method.method = wanted.method
        method.stamp(user)
        method.save()
        log(instance=method, action="wagtail.edit", user=user, content_changed=True)
    for row in wanted.deleted:
        log(instance=row, action="wagtail.delete", user=user)
        row.delete()
        revoke(row.key)
    _free_names(wanted)
    moved = {change.key for change in wanted.changes if change.kind == "moved"}
    labels = {
        change.key: [field.label for field in change.fields]
        for change in wanted.changes
        if change.kind == "changed"
    }
    for position, each in enumerate(wanted.sets):
        if each.is_changed:
            _save(each, position, labels.get(each.config.key, []), user)
        elif each.row.sort_order != position:
            # As in the admin, a new order is no new revision of a set.
            SettingsSet.objects.filter(pk=each.row.pk).update(sort_order=position)
        if each.config.key in moved:
            log(instance=each.row, action="wagtail_smtp.reorder", user=user)


def _free_names(wanted: Plan) -> None:
    """Rename sets that get another name, because two sets may exchange theirs."""
    for each in wanted.sets:
        if each.before is not None and each.before.name != each.config.name:
            SettingsSet.objects.filter(pk=each.row.pk).update(name=str(each.row.key))


def _save(each: PlannedSet, position: int, labels: list[str], user: Any) -> None:
    row, is_new = each.row, each.before is None
    row.thaw(_with_secret(each, user))
    row.enabled, row.managed_by = each.enabled, each.managed_by
    row.sort_order = position
    row.stamp(user)
    row.save()
    log(
        instance=row,
        action="wagtail.create" if is_new else "wagtail.edit",
        user=user,
        content_changed=True,
        data={"revision": row.revision, "fields": labels},
    )


def _with_secret(each: PlannedSet, user: Any) -> SettingsSetConfig:
    """The set's values with the ID of its secret, which is stored if it is new."""
    if each.content is None:
        return each.config
    # Anyone who imports a file could also change the settings that allow its references.
    secret = set_secrets.store(each.config, each.content, user, allow_new_destination=True)
    consents.try_again(each.row.key)
    return replace(each.config, secret=secret.pk)
