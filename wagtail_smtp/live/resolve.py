"""Build transports from settings sets and their secrets; read saved and live configurations."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config import references, values
from wagtail_smtp.config.validation import is_header_value
from wagtail_smtp.config.values import Configuration, Method, SettingsSetConfig, TransportConfig
from wagtail_smtp.exceptions import ReferenceUnreadable, SecretError, SecretUnreadable
from wagtail_smtp.live import set_secrets, token_store
from wagtail_smtp.live.db import connections
from wagtail_smtp.models import (
    ConfigurationVersion,
    DeliverySettings,
    ReportEmail,
    Secret,
    SettingsSet,
    SiteSender,
)
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.base import Transport
from wagtail_smtp.transports.esp.catalog import PROVIDERS, ESPConfig
from wagtail_smtp.transports.esp.transport import AnymailTransport
from wagtail_smtp.transports.pool import PooledTransport
from wagtail_smtp.transports.smtp.transport import SMTPTransport


@sensitive_variables()
def transport_config(
    item: SettingsSetConfig, secret: Secret | None, *, is_test: bool = False
) -> TransportConfig | ESPConfig:
    """Return everything that a transport for ``item`` needs, including secrets in plain text.

    Args:
        is_test: use a consent that waits for a reload, if there is one.

    Raises:
        SecretError: the secret can't be used; the message names the set and the fix.
    """
    if item.uses_esp:
        return _provider(item, secret)
    if item.authentication == "default":
        return _standard_server(item)
    if item.authentication == "oauth2":
        return _with_tokens(item, secret, is_test)
    password = _password(item, secret) if item.authentication == "password" else ""
    username = item.username if item.authentication == "password" else ""
    return replace(_server(item), username=username, password=password)


def _server(item: SettingsSetConfig) -> TransportConfig:
    return TransportConfig(
        name=item.name,
        host=item.host,
        port=item.port,
        encryption=item.encryption,
        timeout=item.timeout,
        ehlo_name=item.ehlo_name,
        ignored_extensions=item.ignored_extensions,
        ca_certificates=item.ca_certificates,
    )


@sensitive_variables()
def _with_tokens(item: SettingsSetConfig, secret: Secret | None, is_test: bool) -> TransportConfig:
    value = token_store.reveal(item, secret)
    is_stored = secret is None or secret.pk is not None
    return replace(
        _server(item),
        username=item.username,
        tokens=token_store.source(item, value, is_stored=is_stored, is_test=is_test),
    )


def mailbox_config(item: SettingsSetConfig, server: TransportConfig) -> TransportConfig:
    """Return what is needed to read the bounces of a set with a mailbox.

    Args:
        server: from :func:`transport_config`; its login is the mailbox's too.
    """
    return replace(
        server,
        host=item.mailbox_host,
        port=item.mailbox_port,
        encryption=item.mailbox_encryption,
        is_standard_server=False,
    )


def transport_class(item: SettingsSetConfig) -> type[Transport]:
    """The class of a candidate's transport, which declares its capabilities."""
    return _CLASSES.get(item.transport, AnymailTransport)


#: Transports by name; all others are email providers.
_CLASSES: Mapping[str, type[Transport]] = {
    "smtp": SMTPTransport,
    "standard": standard.StandardTransport,
}


def transport_of(config: TransportConfig | ESPConfig) -> PooledTransport[Any]:
    """Create the transport for a set's configuration."""
    return AnymailTransport(config) if isinstance(config, ESPConfig) else SMTPTransport(config)


@sensitive_variables()
def _password(item: SettingsSetConfig, secret: Secret | None) -> str:
    fix = _("Open the set, enter the password again, save and reload.")
    return set_secrets.reveal(item, secret, _("No password is stored."), fix)


@sensitive_variables()
def _provider(item: SettingsSetConfig, secret: Secret | None) -> ESPConfig:
    try:
        if secret is None or not secret.ciphertext:
            raise ValueError("no keys")
        keys = json.loads(_password(item, secret))
        options = PROVIDERS[item.transport].options
        secrets = {each.name: str(keys[each.name]) for each in options if each.is_secret}
    except (ValueError, KeyError, TypeError):
        why = _("A key is missing. Open the set, enter the keys, save and reload.")
        raise set_secrets.unusable(SecretUnreadable, item, why, "missing") from None
    if secret.references and not all(map(is_header_value, secrets.values())):
        why = _("The key from the %s contains spaces, line breaks or accented letters.")
        why %= references.labels(secret.references)
        kind = references.source_of(secret.references)
        raise set_secrets.unusable(ReferenceUnreadable, item, why, kind)
    return ESPConfig(
        name=item.name,
        slug=item.transport,
        options=dict(item.provider),
        secrets=secrets,
        timeout=item.timeout,
        ca_certificates=item.ca_certificates,
    )


@sensitive_variables()
def reference_problem(item: SettingsSetConfig, secret: Secret | None) -> str:
    """Why this process can't read a secret from its variable or file; empty if it can or has none.

    The text names the set, the variable or file, and the fix.
    """
    if secret is None or not secret.references:
        return ""
    try:
        transport_config(item, secret)
    except SecretError as error:
        return str(error)
    return ""


@sensitive_variables()
def _standard_server(item: SettingsSetConfig) -> TransportConfig:
    # Server and login are always read together from the project's settings, so the project's
    # password can't be sent to another server.
    server = standard.server()
    if server is None or not server.username:
        why = _(
            "It uses the default credentials, but standard delivery is not an SMTP server with a "
            "username. Choose another authentication, save and reload."
        )
        raise set_secrets.unusable(SecretUnreadable, item, why, "missing")
    return replace(
        _server(item),
        host=server.host,
        port=server.port,
        encryption=server.encryption,
        ca_certificates="",
        username=server.username,
        password=server.password,
        is_standard_server=True,
    )


def saved_sets() -> list[tuple[SettingsSet, SettingsSetConfig]]:
    """All saved sets in order, also disabled ones, each as row and as plain values."""
    alias = connections.write_alias()
    reports: defaultdict[int, list[ReportEmail]] = defaultdict(list)
    for report in ReportEmail.objects.using(alias).order_by("sort_order", "pk"):
        reports[report.settings_set_id].append(report)
    senders: defaultdict[int, list[SiteSender]] = defaultdict(list)
    for sender in SiteSender.objects.using(alias):
        senders[sender.settings_set_id].append(sender)
    sets = SettingsSet.objects.using(alias).order_by("sort_order", "pk")
    return [(item, item.frozen(reports[item.pk], senders[item.pk])) for item in sets]


def saved_method() -> Method:
    """The saved delivery method."""
    rows = DeliverySettings.objects.using(connections.write_alias()).filter(pk=1)
    method = rows.values_list("method").first()
    return cast(Method, method[0]) if method else "custom"  # as the field's choices


def draft_configuration() -> Configuration:
    """The saved configuration, which a reload would make live."""
    sets = tuple(config for item, config in saved_sets() if item.enabled)
    return Configuration(saved_method(), sets)


def live_version() -> ConfigurationVersion | None:
    """The live version; None if nothing was ever made live."""
    return ConfigurationVersion.objects.using(connections.write_alias()).first()


def version_configuration(version: ConfigurationVersion | None) -> Configuration:
    """Read a version's configuration; for None, return an empty one.

    Raises:
        ValueError: the version has a format that this release doesn't know.
    """
    if version is None:
        return Configuration()
    if version.format > values.FORMAT:
        raise ValueError(f"version {version.number} has the unknown format {version.format}")
    return values.from_json(version.content)
