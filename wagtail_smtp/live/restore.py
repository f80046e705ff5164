"""Putting the sets and the method back as an earlier version has them."""

import uuid
from typing import Any

from wagtail_smtp.configuration import Configuration
from wagtail_smtp.models import DeliverySettings, Secret, SettingsSet


def put_back(target: Configuration, user: Any) -> None:
    """Make sets and method equal to ``target``; sets it doesn't have are switched off.

    To be called inside the transaction that holds the lock.
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
        # The provider was given the newest; an older one would shut its reports out.
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
    """Give other sets that took a name of ``target`` meanwhile another one."""
    wanted = {item.name.lower(): item.key for item in target.sets}
    for row in SettingsSet.objects.all():
        owner = wanted.get(row.name.lower())
        if owner is not None and owner != str(row.key):
            SettingsSet.objects.filter(pk=row.pk).update(name=free_name(row.name, wanted))


def free_name(name: str, taken: Any = ()) -> str:
    """A name like ``name`` that no set has and that isn't in ``taken`` (lower case)."""
    used = {*taken, *(n.lower() for n in SettingsSet.objects.values_list("name", flat=True))}
    number = 2
    while f"{name[:90]} ({number})".lower() in used:
        number += 1
    return f"{name[:90]} ({number})"
