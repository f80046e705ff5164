"""The secret of a settings set: read it, store it, and limit where references may be sent.

A password that is typed is known to the person who typed it. A reference isn't: with it, an
administrator could send the site's password to a server of their own. So a variable or file
belongs to the destination for which it was first saved or tested. Only a developer can allow
another one. Until a version with it is live, the person who chose the first destination may also
choose another one, because finding the right port or username takes several tests. This gives that
person nothing new: they could have chosen any destination at first.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.references import Reference, SecretContent
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.exceptions import (
    ReferenceUnreadable,
    SecretBoundElsewhere,
    SecretError,
    SecretUnreadable,
)
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.models import DeliverySettings, ReferenceUse, Secret
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.esp.catalog import ESPConfig
from wagtail_smtp.transports.esp.catalog import label as transport_label


@sensitive_variables()
def reveal(item: SettingsSetConfig, secret: Secret | None, missing: str, fix: str) -> str:
    """Return a set's secret in plain text, with the current values of its references.

    Args:
        missing: says that no secret is stored.
        fix: how to enter it again.

    Raises:
        SecretError: it can't be used; the message names the set and the fix.
    """
    try:
        if secret is None:
            raise SecretUnreadable(missing, kind="missing")
        return secret.content(item.binding()).resolved()
    except SecretError as error:
        # A missing variable isn't fixed in the form; its error says where it is.
        why = str(error) if isinstance(error, ReferenceUnreadable) else f"{error} {fix}"
        raise unusable(type(error), item, why, error.kind) from None


def unusable(
    error: type[SecretError], item: SettingsSetConfig, why: str, kind: str = ""
) -> SecretError:
    """Return an error that says which set can't be used, and why."""
    text = _("The settings set “%(name)s” can't be used. %(why)s")
    return error(text % {"name": item.name, "why": why}, why=why, kind=kind)


def file_states(secret: Secret | None) -> tuple[object, ...]:
    """What changes if one of the files that a secret is read from is replaced; empty if none is."""
    references = secret.references if secret is not None else {}
    files = [each for each in references.values() if each.startswith("file:")]
    return tuple(Reference.of(each).state() for each in files)


@sensitive_variables()
def store(
    item: SettingsSetConfig,
    content: SecretContent,
    user: Any = None,
    *,
    allow_new_destination: bool = False,
) -> Secret:
    """Store a set's secret, bound to the destination in ``item``.

    Args:
        user: who entered it.
        allow_new_destination: let references be sent there even if they belong to another
            destination. Only for developers: not for what an administrator entered.

    Raises:
        SecretBoundElsewhere: a reference belongs to another destination.
        ReferenceUnreadable: the project's settings don't allow a reference.
    """
    for reference in content.references.values():
        if why := Reference.of(reference).refusal():
            raise ReferenceUnreadable(why)
    claim(item, content.references, user, allow_new_destination=allow_new_destination)
    owner = uuid.UUID(item.key)
    return Secret.store(content.text, item.binding(), owner, content.references)


def refusal(item: SettingsSetConfig, references: Mapping[str, str], user: Any = None) -> str:
    """Why the references may not be sent to the set's destination; empty if they may.

    Args:
        user: who asks.
    """
    return next(filter(None, (_refusal(item, each, user) for each in references.values())), "")


def _refusal(item: SettingsSetConfig, reference: str, user: Any) -> str:
    uses = list(_uses(reference))
    own_uses = [use for use in uses if use.destination == _destination(item)]
    if any(use.is_final for use in own_uses):
        return ""
    if _is_of_standard_delivery(item, reference):
        server = standard.description()
    elif not uses or own_uses or _may_still_choose(user, uses):
        return ""
    else:
        server = uses[0].server
    return _(
        "The %(reference)s belongs to %(server)s, for which it was first used. It can't be used "
        "for another server, port or user, or with other encryption or certificates. A developer "
        "can allow this with smtp_import."
    ) % {"reference": Reference.of(reference).label, "server": server}


def _may_still_choose(user: Any, uses: Iterable[ReferenceUse]) -> bool:
    key = getattr(user, "pk", None)
    return key is not None and all(use.used_by_id == key and not use.is_final for use in uses)


@sensitive_variables()
def _is_of_standard_delivery(item: SettingsSetConfig, reference: str) -> bool:
    """Whether it contains standard delivery's password and the set has another server.

    Many projects read both from the same variable.
    """
    server = standard.server()
    if server is None or not server.password:
        return False
    goes_to = (item.host, item.port, item.encryption)
    # With OAuth 2, the secret goes to the identity provider.
    is_login = item.authentication == "password"
    # A mailbox's server gets it too.
    is_same = goes_to == (server.host, server.port, server.encryption) and not item.mailbox_host
    if is_login and is_same:
        return False
    try:
        return Reference.of(reference).resolve() == server.password
    except ReferenceUnreadable:
        return False


def _uses(reference: str) -> "QuerySet[ReferenceUse]":
    """The recorded destinations of a reference, and those of the same file under another path."""
    wanted = Q(reference=reference)
    given = Reference.of(reference)
    if given.source == "file":
        files = ReferenceUse.objects.filter(reference__startswith="file:").order_by().distinct()
        known = files.values_list("reference", flat=True)
        same = [text for text in known if given.is_same(Reference.of(text))]
        wanted |= Q(reference__in=same)
    return ReferenceUse.objects.filter(wanted).order_by("pk")


@in_transaction
def claim(
    item: SettingsSetConfig,
    references: Mapping[str, str],
    user: Any = None,
    *,
    allow_new_destination: bool = False,
) -> None:
    """Record the set's destination for its references, before they are saved or sent there.

    Arguments and errors are as in :func:`store`.
    """
    if not references:
        return
    DeliverySettings.lock()
    if not allow_new_destination and (why := refusal(item, references, user)):
        raise SecretBoundElsewhere(why)
    for reference in references.values():
        use, _is_new = ReferenceUse.objects.get_or_create(
            reference=reference,
            destination=_destination(item),
            defaults={
                "server": _server(item)[:255],
                "used_by": user if getattr(user, "pk", None) else None,
            },
        )
        if allow_new_destination and not use.is_final:
            ReferenceUse.objects.filter(pk=use.pk).update(is_final=True)


def confirm(items: Iterable[SettingsSetConfig]) -> None:
    """Record that these sets are live: their references now belong to their destinations only."""
    by_secret = {item.secret: item for item in items if item.secret is not None}
    for key, secret in Secret.objects.in_bulk(list(by_secret)).items():
        if not secret.references:
            continue
        item = by_secret[key]
        claim(item, secret.references, allow_new_destination=True)
        for reference in secret.references.values():
            tried = _uses(reference).filter(is_final=False)
            tried.exclude(destination=_destination(item)).delete()


def _destination(item: SettingsSetConfig) -> str:
    return hashlib.sha256(json.dumps(item.binding(), sort_keys=True).encode()).hexdigest()


def _server(item: SettingsSetConfig) -> str:
    """The destination for people; without the username, which may be a person's address."""
    if item.uses_esp:
        config = ESPConfig(item.name, item.transport, dict(item.provider), {})
        return f"{transport_label(item.transport)} ({config.host})"
    server = f"{item.host}:{item.port}"
    if item.authentication == "oauth2":
        server += f" ({OAuth.of(item.oauth).token_endpoint})"
    if item.mailbox_host:
        server += f", {item.mailbox_host}:{item.mailbox_port}"
    return server
