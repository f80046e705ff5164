"""Write the saved sets as a settings file, with references in place of secrets."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from wagtail_smtp.conf import conf
from wagtail_smtp.config.references import Reference
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.config_files import schema
from wagtail_smtp.config_files.fields import FileSet, secret_names, stored_name, to_file
from wagtail_smtp.live import sites
from wagtail_smtp.live.resolve import saved_method, saved_sets
from wagtail_smtp.models import Secret, SettingsSet

#: The beginning of the variables' names if no setting decides it.
_PREFIX = "SMTP_"


@dataclass(frozen=True, slots=True)
class NeededVariable:
    """An environment variable that doesn't exist yet: its value is a secret stored here."""

    name: str
    set_name: str
    #: The name of the secret in the file.
    secret: str
    is_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Export:
    """The content of a file, and the variables that the site it is imported into needs."""

    content: Mapping[str, Any]
    variables: tuple[NeededVariable, ...]


def export() -> Export:
    """Export the saved sets and the delivery method."""
    saved = saved_sets()
    stored = Secret.objects.in_bulk([item.secret_id for item, _ in saved if item.secret_id])
    users = _usernames(config for _, config in saved)
    variables = _Variables(stored.values())
    named = sites.names(sites.known()) if any(c.sites or c.site_senders for _, c in saved) else {}
    sets = [
        FileSet(
            slug=item.slug,
            config=config,
            enabled=item.enabled,
            references=variables.references(item, config, stored.get(item.secret_id)),
            notify_user=users.get(config.notify_user, ""),
            sites=tuple(_site(key, named) for key in config.sites),
            site_senders=tuple((_site(each.site, named), each) for each in config.site_senders),
        )
        for item, config in saved
    ]
    content = {
        "version": schema.VERSION,
        "delivery": saved_method(),
        "sets": [to_file(each) for each in sets],
    }
    return Export(content, tuple(variables.needed))


def _site(key: int, named: Mapping[int, str]) -> str:
    """A site's address. That of a deleted site can't be imported: without it, the set would be
    used for all sites.
    """
    return named.get(key, f"deleted-site-{key}")


def _usernames(configs: Iterable[SettingsSetConfig]) -> dict[Any, str]:
    """The usernames of notify users, by their keys as sets have them."""
    keys = {config.notify_user for config in configs if config.notify_user is not None}
    found = get_user_model()._default_manager.filter(pk__in=keys)
    names = {str(user.pk): str(user.get_username()) for user in found}
    return {key: names[str(key)] for key in keys if str(key) in names}


class _Variables:
    """Names the variables that secrets are to be read from."""

    def __init__(self, stored: Iterable[Secret]) -> None:
        self.needed: list[NeededVariable] = []
        self._taken = {
            Reference.of(text).name for secret in stored for text in secret.references.values()
        }

    def references(
        self, item: SettingsSet, config: SettingsSetConfig, secret: Secret | None
    ) -> dict[str, Reference]:
        """Where a set's secrets are to be read; empty if it has none."""
        names = secret_names(config) if secret is not None and secret.ciphertext else ()
        stored = secret.references if secret is not None else {}
        known = {name: stored.get(stored_name(config, name)) for name in names}
        return {
            name: Reference.of(text) if text else self._new(item, name)
            for name, text in known.items()
        }

    def _new(self, item: SettingsSet, secret: str) -> Reference:
        base = re.sub(r"[^A-Z0-9]+", "_", f"{item.slug}_{secret}".upper()).strip("_")
        wanted = _with_prefix(base)
        names = itertools.chain([wanted], (f"{wanted}_{n}" for n in itertools.count(2)))
        name = next(each for each in names if each not in self._taken)
        self._taken.add(name)
        found = Reference("env", name)
        self.needed.append(NeededVariable(name, item.name, secret, not found.refusal()))
        return found


def _with_prefix(name: str) -> str:
    """A variable's name that ``SECRET_VARIABLES`` allows, if it allows any."""
    names = [f"{pattern[:-1]}{name}" for pattern in conf.SECRET_VARIABLES if pattern[-1:] == "*"]
    allowed = [each for each in names if re.fullmatch(r"[A-Za-z_]\w*", each, re.ASCII)]
    return (allowed or [f"{_PREFIX}{name}"])[0]


def as_json(content: Mapping[str, Any]) -> str:
    """Return the content of a file in JSON."""
    return json.dumps({"$schema": schema.URL, **content}, indent=2, ensure_ascii=False) + "\n"


def as_yaml(content: Mapping[str, Any]) -> str:
    """Return the content of a file in YAML. It needs PyYAML."""
    from wagtail_smtp.config_files.yaml_writer import dump

    return f"# yaml-language-server: $schema={schema.URL}\n{dump(content)}"
