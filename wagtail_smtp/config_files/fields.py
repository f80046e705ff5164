"""Convert between a settings set's values and its fields in a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.references import PASSWORD, Reference
from wagtail_smtp.config.values import OTHER_SITE, ReportEmail, SettingsSetConfig, SiteSender
from wagtail_smtp.config_files import schema
from wagtail_smtp.config_files.document import Path
from wagtail_smtp.models.settings_set import PLAIN_FIELDS
from wagtail_smtp.transports.esp.catalog import PROVIDERS

#: Written even if it is the default, because a set without it would be a riddle.
_ALWAYS = ("id", "name")


@dataclass(frozen=True, slots=True)
class FileSet:
    """A settings set as a file describes it.

    Attributes:
        slug: its ID in files.
        config: its values, without those that depend on the database: key, secrets, notify user and
            sites.
        references: where its secrets are read, by the names from :func:`secret_names`. A secret
            that the file leaves out is missing.
        notify_user: a username; empty: the site's ADMINS.
        sites: the addresses of the sites to which it is limited.
        site_senders: senders, each with the address of its site.
        path: where it is in the file.
    """

    slug: str
    config: SettingsSetConfig
    enabled: bool = True
    references: Mapping[str, Reference] = field(default_factory=dict)
    notify_user: str = ""
    sites: tuple[str, ...] = ()
    site_senders: tuple[tuple[str, SiteSender], ...] = ()
    path: Path = ()


def secret_names(config: SettingsSetConfig) -> tuple[str, ...]:
    """The names of the secrets that a set uses: fields or options."""
    if config.uses_esp:
        provider = PROVIDERS.get(config.transport)
        return tuple(o.name for o in provider.options if o.is_secret) if provider else ()
    if config.authentication == "oauth2":
        return (schema.OAUTH_SECRETS[OAuth.of(config.oauth).flow],)
    return (PASSWORD,) if config.authentication == "password" else ()


def stored_name(config: SettingsSetConfig, name: str) -> str:
    """The name of a secret in :attr:`wagtail_smtp.models.Secret.references`."""
    return name if config.uses_esp else PASSWORD


def field_path(config: SettingsSetConfig, name: str) -> Path:
    """Where a form's field is in a set of a file, for example ``oauth_tenant``."""
    name = {"secret": "password"}.get(name, name)
    prefix = f"provider_{config.transport}_"
    if name.startswith(prefix):
        return ("provider", name.removeprefix(prefix))
    if name.startswith("oauth_"):
        return ("oauth", name.removeprefix("oauth_"))
    return (name,)


def _properties() -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema.load()["$defs"]["set"]["properties"]
    return found


def from_file(values: Mapping[str, Any], path: Path) -> FileSet:
    """Read a set that agrees with the schema."""
    known = _properties()
    given = {name: values.get(name, part.get("default")) for name, part in known.items()}
    plain = {name: _stripped(given[name]) for name in PLAIN_FIELDS}
    plain["ca_certificates"] = as_lines(plain["ca_certificates"])
    config = SettingsSetConfig(
        key="",
        report_emails=tuple(map(_report, given["report_emails"])),
        categories=tuple(given["categories"]),
        ignored_extensions=tuple(given["ignored_extensions"]),
        **plain,
    )
    provider, oauth = values.get("provider", {}), values.get("oauth", {})
    if config.uses_esp:
        # An API has no login of its own; the form does the same.
        options = _provider_options(config.transport, provider)
        config = replace(config, authentication="none", provider=options)
    elif config.authentication == "oauth2":
        config = replace(config, oauth=_oauth_options(oauth))
    secrets = {**provider, **oauth, "password": values.get("password")}
    return FileSet(
        slug=values["id"],
        config=config,
        enabled=given["enabled"],
        references={
            name: _reference(secrets[name]) for name in secret_names(config) if secrets.get(name)
        },
        notify_user=given["notify_user"] or "",
        sites=tuple(given["sites"]),
        site_senders=tuple(map(_site_sender, given["site_senders"])),
        path=path,
    )


def _stripped(value: Any) -> Any:
    """A value as a form of the admin would clean it."""
    return value.strip() if isinstance(value, str) else value


def as_lines(text: str) -> str:
    """A text of several lines, without the line endings that browsers post."""
    return "\n".join(text.strip().splitlines())


def _report(given: Any) -> ReportEmail:
    if isinstance(given, str):
        return ReportEmail(given.strip())
    return ReportEmail(given["address"].strip(), given.get("enabled", True))


def _site_sender(given: Mapping[str, str]) -> tuple[str, SiteSender]:
    name, address = (given.get(key, "").strip() for key in ("name", "address"))
    return given["site"], SiteSender(OTHER_SITE, name, address)


def _provider_options(slug: str, given: Mapping[str, Any]) -> dict[str, str]:
    values = {
        option.name: _stripped(given.get(option.name, "")) or option.default
        for option in PROVIDERS[slug].options
        if not option.is_secret
    }
    return {name: value for name, value in values.items() if value}


def _oauth_options(given: Mapping[str, Any]) -> dict[str, str]:
    values = {name: _stripped(given.get(name, "")) for name in OAuth.__slots__}
    return OAuth(**(values | {"cloud": values["cloud"] or "global"})).as_dict()


def _reference(given: Mapping[str, str]) -> Reference:
    [(source, name)] = given.items()
    return Reference.of(f"{source}:{name}")


def to_file(item: FileSet) -> dict[str, Any]:
    """Return a set's fields as a file has them, without those that have their defaults."""
    config = item.config
    secrets = {name: {each.source: each.name} for name, each in item.references.items()}
    values: dict[str, Any] = {name: getattr(config, name) for name in PLAIN_FIELDS}
    values |= {
        "id": item.slug,
        "enabled": item.enabled,
        "ca_certificates": as_lines(config.ca_certificates),
        "categories": list(config.categories),
        "ignored_extensions": list(config.ignored_extensions),
        "report_emails": [
            each.address if each.enabled else {"address": each.address, "enabled": False}
            for each in config.report_emails
        ],
        "notify_user": item.notify_user or None,
        "sites": list(item.sites),
        "site_senders": [
            {
                "site": site,
                **({"name": sender.name} if sender.name else {}),
                **({"address": sender.address} if sender.address else {}),
            }
            for site, sender in item.site_senders
        ],
        "password": secrets.get("password"),
        "provider": _options(config.provider, secrets, config.transport),
        "oauth": _options(config.oauth, secrets, "oauth"),
    }
    unused = schema.unused_fields(config.transport, config.authentication)
    return {
        name: values[name]
        for name, part in _properties().items()
        if name in _ALWAYS or (name not in unused and values[name] != part.get("default"))
    }


def _options(
    given: Mapping[str, str], secrets: Mapping[str, Any], definition: str
) -> dict[str, Any] | None:
    """The options of an email provider or of OAuth 2, with where their secrets are read."""
    known = schema.load()["$defs"].get(definition, {}).get("properties", {})
    values = {name: secrets.get(name, given.get(name)) for name in known}
    found = {
        name: value
        for name, value in values.items()
        if value and value != known[name].get("default")
    }
    return found or None
