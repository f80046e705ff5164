"""The format of settings files as a JSON Schema, built from the model and the email providers.

The package contains the result in ``schemas/``, which the documentation publishes for editors. A
test compares it with what :func:`build` returns.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import translation
from django.utils.text import capfirst

from wagtail_smtp.conf import DEFAULTS
from wagtail_smtp.config import oauth
from wagtail_smtp.config.validation import MAILBOX_FIELDS
from wagtail_smtp.config.values import EXTENSIONS
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.transports.esp.catalog import ESP, PROVIDERS, SELF_HOSTED, Option

#: The version of the format. A file with another one is refused.
VERSION = 1
#: The name of the schema's file.
NAME = f"settings-file-{VERSION}.json"
#: Where the documentation publishes it.
URL = f"{DEFAULTS['DOCUMENTATION_URL']}{NAME}"

SMTP = "smtp"
#: OAuth 2 secrets, by login method. An optional one has no login method of its own.
OAUTH_SECRETS = {
    "client": "client_secret",
    "consent": "client_secret",
    "service_account": "service_account",
}
#: Fields that only SMTP uses.
_SMTP_ONLY = (
    "host",
    "port",
    "encryption",
    "ehlo_name",
    "ignored_extensions",
    "authentication",
    "username",
    "password",
    "oauth",
    "bounce_address",
    "bounce_separator",
    *MAILBOX_FIELDS,
)
#: Fields that standard delivery decides if its credentials are used.
_OF_STANDARD = ("host", "port", "encryption", "ca_certificates", "username", "password", "oauth")
#: The largest value of the column on every database.
_LARGEST_SMALL = 32767
#: The end of a pattern. Python's ``$`` also matches before a line break.
_END = r"$(?!\n)"


@lru_cache(maxsize=1)
def load() -> dict[str, Any]:
    """Return the schema from the package's file."""
    file = resources.files("wagtail_smtp.config_files") / "schemas" / NAME
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def build() -> dict[str, Any]:
    """Build the schema."""
    # The file is in English, whatever the active language.
    with translation.override(None):
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": URL,
            "title": "Settings file of wagtail-smtp",
            "description": "Settings sets for smtp_import and WAGTAIL_SMTP['SETS_FILE'].",
            "type": "object",
            "properties": {
                "$schema": {"type": "string", "description": "For editors only."},
                "version": {"const": VERSION, "description": "The version of this format."},
                "delivery": {
                    "title": "Delivery method",
                    "description": (
                        "Whether email is sent with the sets (custom) or by standard delivery "
                        "(standard). If you leave it out, it stays as it is."
                    ),
                    "enum": list(DeliverySettings.Method.values),
                },
                "sets": {
                    "title": "Settings sets",
                    "description": "In order: the first enabled set that applies sends a message.",
                    "type": "array",
                    "items": {"$ref": "#/$defs/set"},
                },
            },
            "required": ["version", "sets"],
            "additionalProperties": False,
            "$defs": {
                "set": _set(),
                "secret": _SECRET,
                "report_email": _REPORT_EMAIL,
                "site_sender": _SITE_SENDER,
                "oauth": _oauth(),
                **{provider.slug: _provider(provider) for provider in PROVIDERS.values()},
            },
        }


_SECRET = {
    "title": "Secret",
    "description": (
        "Where the secret is read: an environment variable, {env: SMTP_PASSWORD}, or a file, "
        "{file: /run/secrets/smtp}. The secret itself can't be in this file. If you leave it out, "
        "the stored one stays."
    ),
    "type": "object",
    "properties": {
        "env": {
            "description": "A variable that matches WAGTAIL_SMTP['SECRET_VARIABLES'].",
            "type": "string",
            "pattern": f"^[A-Za-z_][A-Za-z0-9_]*{_END}",
        },
        "file": {
            "description": "A path below one of WAGTAIL_SMTP['SECRET_DIRECTORIES'].",
            "type": "string",
            "minLength": 1,
        },
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}
_REPORT_EMAIL = {
    "description": "An address, or {address: qa@example.com, enabled: false}.",
    "type": ["string", "object"],
    "maxLength": 254,
    "properties": {
        "address": {"type": "string", "maxLength": 254},
        "enabled": {"type": "boolean", "default": True},
    },
    "required": ["address"],
    "additionalProperties": False,
}


#: A site in Wagtail, by its hostname.
_SITE = {
    "description": (
        "The hostname of a site in Wagtail, with its port, for example localhost:8000, if it isn't "
        "80 or 443 or if several sites have the hostname."
    ),
    "type": "string",
    "minLength": 1,
    "maxLength": 261,
}
_SITE_SENDER = {
    "title": "Sender of a site",
    "type": "object",
    "properties": {
        "site": _SITE,
        "name": {"type": "string", "maxLength": 150, "default": ""},
        "address": {"type": "string", "maxLength": 254, "default": ""},
    },
    "required": ["site"],
    "additionalProperties": False,
}


def _set() -> dict[str, Any]:
    return {
        "title": "Settings set",
        "type": "object",
        "properties": _set_properties(),
        "required": ["id", "name"],
        "additionalProperties": False,
        "allOf": list(_set_conditions()),
    }


def _set_properties() -> dict[str, Any]:
    """The fields that people can edit, in the order of the model."""
    found: dict[str, Any] = {
        "id": {
            "title": "ID",
            "description": (
                "Identifies the set in every environment, whatever its name: up to 50 letters, "
                "digits, hyphens and underscores. It never changes."
            ),
            "type": "string",
            "pattern": f"^[-a-zA-Z0-9_]{{1,50}}{_END}",
        }
    }
    for field in SettingsSet._meta.fields:
        if field.editable and not field.primary_key:
            found[field.name] = {
                "title": str(capfirst(field.verbose_name)),
                **({"description": str(field.help_text)} if field.help_text else {}),
                **_SPECIAL.get(field.name, _column(field)),
            }
        if field.name == "username":
            found["password"] = {"title": "Password", "$ref": "#/$defs/secret"}
        if field.name == "sender_address":
            found["site_senders"] = {
                "title": "Senders of sites",
                "description": "Used instead of the set's sender for email of these sites.",
                "type": "array",
                "items": {"$ref": "#/$defs/site_sender"},
                "default": [],
            }
        if field.name == "redirect":
            found["report_emails"] = {
                "title": "Report emails",
                "description": "Addresses that receive redirected email, in order.",
                "type": "array",
                "items": {"$ref": "#/$defs/report_email"},
                "default": [],
            }
    return found


_SPECIAL: Mapping[str, dict[str, Any]] = {
    "transport": {"enum": [SMTP, *PROVIDERS], "default": SMTP},
    "provider": {
        "description": "The email provider's options and keys, as in django-anymail.",
        "type": "object",
    },
    "oauth": {"$ref": "#/$defs/oauth"},
    "categories": {
        "type": "array",
        "items": {
            "type": "string",
            "maxLength": 50,
            "pattern": f"^[a-z0-9]+([-_][a-z0-9]+)*{_END}",
        },
        "uniqueItems": True,
        "default": [],
    },
    "sites": {"type": "array", "items": _SITE, "uniqueItems": True, "default": []},
    "ignored_extensions": {
        "type": "array",
        "items": {"enum": list(EXTENSIONS)},
        "uniqueItems": True,
        "default": [],
    },
    "notify_user": {
        "description": (
            "The username of who is notified about messages that are too large. If you leave it "
            "out, or if there is no such user, the site's ADMINS are."
        ),
        "type": "string",
    },
}


def _column(field: Any) -> dict[str, Any]:
    """A field's type and default, from the model's."""
    found: dict[str, Any] = {}
    if field.choices:
        found["enum"] = [value for value, _label in field.choices]
    elif isinstance(field, models.BooleanField):
        found["type"] = "boolean"
    elif isinstance(field, models.IntegerField):
        found |= {"type": "integer", **_limits(field)}
    else:
        found["type"] = "string"
        if field.max_length:
            found["maxLength"] = field.max_length
    if field.has_default():
        default = field.get_default()
        # An enumeration's value would be written with its class.
        found["default"] = str(default) if isinstance(default, str) else default
    elif field.blank and not field.null:
        found["default"] = ""
    return found


def _limits(field: Any) -> dict[str, int]:
    lowest = [v.limit_value for v in field.validators if isinstance(v, MinValueValidator)]
    highest = [v.limit_value for v in field.validators if isinstance(v, MaxValueValidator)]
    if isinstance(field, models.PositiveSmallIntegerField):
        highest.append(_LARGEST_SMALL)
    return {"minimum": max(lowest), "maximum": min(highest)}


def _set_conditions() -> Iterator[dict[str, Any]]:
    """Which fields go with which transport and authentication."""
    for slug, provider in PROVIDERS.items():
        then: dict[str, Any] = {"properties": {"provider": {"$ref": f"#/$defs/{slug}"}}}
        if _needed(provider):
            then["required"] = ["provider"]
        yield {"if": _when(transport=[slug]), "then": then}
    for when, names, reason in _unused():
        yield {"if": _when(**when), "then": _without(names, reason)}
    for authentications, name in (
        (["none", "password", "oauth2"], "host"),
        (["password", "oauth2"], "username"),
        (["oauth2"], "oauth"),
    ):
        when = {"transport": [SMTP], "authentication": authentications}
        yield {"if": _when(**when), "then": {"required": [name]}}


def _unused() -> Iterator[tuple[dict[str, list[str]], Collection[str], str]]:
    """Yield conditions, the fields that are then not used, and why."""
    hosted = [slug for slug in PROVIDERS if slug not in SELF_HOSTED]
    yield {"transport": list(PROVIDERS)}, _SMTP_ONLY, "Only SMTP uses this."
    yield {"transport": hosted}, ["ca_certificates"], "This email provider doesn't use it."
    yield {"transport": [SMTP]}, ["provider"], "Only email providers use this."
    for authentications, names, reason in (
        (
            ["default"],
            _OF_STANDARD,
            "With “authentication: default”, standard delivery decides this.",
        ),
        (["none", "default"], MAILBOX_FIELDS, "The mailbox is read with the set's own login."),
        (["none", "oauth2"], ["password"], "Only “authentication: password” uses this."),
        (["none", "password"], ["oauth"], "Only “authentication: oauth2” uses this."),
    ):
        yield {"transport": [SMTP], "authentication": authentications}, names, reason


def unused_fields(transport: str, authentication: str) -> set[str]:
    """The fields that a set with this transport and authentication doesn't use."""
    given = {"transport": transport, "authentication": authentication}
    found: set[str] = set()
    for when, names, _reason in _unused():
        if all(given[name] in values for name, values in when.items()):
            found.update(names)
    return found


#: The default of each field that conditions depend on.
_DEFAULTS = {"transport": SMTP, "authentication": str(SettingsSet.Authentication.PASSWORD)}


def _when(**values: list[str]) -> dict[str, Any]:
    """The condition that each field has one of the values."""
    required = [name for name, found in values.items() if _DEFAULTS.get(name) not in found]
    properties = {
        name: {"const": found[0]} if len(found) == 1 else {"enum": found}
        for name, found in values.items()
    }
    return {"properties": properties, **({"required": required} if required else {})}


def _without(names: Collection[str], reason: str) -> dict[str, Any]:
    """Refuse fields; editors show the reason."""
    return {"properties": {name: {"not": {}, "description": reason} for name in names}}


def _oauth() -> dict[str, Any]:
    secrets = dict.fromkeys(OAUTH_SECRETS.values())
    names = oauth.OAuth.__slots__
    return {
        "title": "OAuth 2",
        "type": "object",
        "properties": {
            **{name: _oauth_option(name) for name in names},
            **{name: {"title": _OAUTH_LABELS[name], "$ref": "#/$defs/secret"} for name in secrets},
        },
        "required": ["provider", "flow"],
        "additionalProperties": False,
        "allOf": list(_oauth_conditions()),
    }


_OAUTH_LABELS = {"client_secret": "Client secret", "service_account": "Service account key"}


#: Options of OAuth 2 that may be left out although they are used.
_OPTIONAL = ("cloud", "scope", "secret_expires_on")


def _oauth_option(name: str) -> dict[str, Any]:
    title = {"title": str(oauth.LABELS[name])}
    if name == "secret_expires_on":
        return title | {
            "description": "YYYY-MM-DD, in quotes; you get an alert before.",
            "type": "string",
        }
    if name not in oauth.CHOICES:
        return title | {"type": "string"}
    choices = oauth.CHOICES[name]
    labels = "; ".join(f"{value}: {label}" for value, label in choices.items())
    default = {"default": "global"} if name == "cloud" else {}
    return title | {"description": labels, "enum": list(choices)} | default


def _oauth_conditions() -> Iterator[dict[str, Any]]:
    """Which options go with which identity provider and login method."""
    every = {*oauth.OAuth.__slots__, *OAUTH_SECRETS.values()}
    for provider, flows in oauth.FLOWS.items():
        flow = {"properties": {"flow": {"enum": list(flows)}}}
        yield {"if": _when(provider=[provider]), "then": flow}
        for each in flows:
            used = oauth.OAuth(provider, each).used()
            unused = sorted(every - {"provider", "flow", *used, OAUTH_SECRETS[each]})
            required = [name for name in used if name not in _OPTIONAL]
            then = _without(unused, "This identity provider and login method don't use it.")
            when = _when(provider=[provider], flow=[each])
            yield {"if": when, "then": {**then, "required": required}}


def _provider(provider: ESP) -> dict[str, Any]:
    return {
        "title": str(provider.label),
        "type": "object",
        "properties": {option.name: _provider_option(option) for option in provider.options},
        "required": _needed(provider),
        "additionalProperties": False,
    }


def _needed(provider: ESP) -> list[str]:
    """The options without which a set can't be saved."""
    options = (o for o in provider.options if o.is_required and not o.is_secret and not o.default)
    return [option.name for option in options]


def _provider_option(option: Option) -> dict[str, Any]:
    found: dict[str, Any] = {"title": str(option.label)}
    if hint := str(option.hint):
        found["description"] = hint
    if option.is_secret:
        return found | {"$ref": "#/$defs/secret"}
    if option.choices:
        found["enum"] = [value for value, _label in option.choices]
    else:
        found |= {"type": "string", "maxLength": 255}
    default = option.default or ("" if not option.is_required else None)
    return found if default is None else found | {"default": default}
