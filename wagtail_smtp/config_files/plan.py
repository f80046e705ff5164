"""Compare a settings file with the saved sets: what an import would change."""

import hashlib
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.references import SecretContent, labels
from wagtail_smtp.config.values import (
    OTHER_SITE,
    Configuration,
    Method,
    SettingsSetConfig,
    SiteSender,
)
from wagtail_smtp.config_files import sets_file
from wagtail_smtp.config_files.document import FileProblem, FileRefused
from wagtail_smtp.config_files.fields import FileSet, as_lines, secret_names, stored_name
from wagtail_smtp.config_files.file import SettingsFile
from wagtail_smtp.exceptions import ReferenceUnreadable, SecretBoundElsewhere, SecretError
from wagtail_smtp.live import live_version, sites
from wagtail_smtp.live.diff import FieldChange, SetChange, difference, field_label, secret_label
from wagtail_smtp.live.resolve import saved_method, saved_sets
from wagtail_smtp.models import Secret, SettingsSet
from wagtail_smtp.models.settings_set import as_json

#: The ID of a secret that an import will store.
_NEW_SECRET = -1


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """A set as it will be.

    Attributes:
        row: its row, with the saved values; a new one for a new set.
        config: its new values. Its secret is :data:`_NEW_SECRET` if ``content`` is to be stored.
        content: where its secrets are read, if that changes.
        before: its saved values; None if it is new.
    """

    row: SettingsSet
    config: SettingsSetConfig
    enabled: bool
    managed_by: str
    content: SecretContent | None = None
    before: SettingsSetConfig | None = None

    @property
    def is_changed(self) -> bool:
        """Whether its row has to be written."""
        return (self.config, self.enabled, self.managed_by) != (
            self.before,
            self.row.enabled,
            self.row.managed_by,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import changes; ``token`` is another one if the file or what is saved changes.

    Attributes:
        sets: all sets as they will be, in their new order.
        deleted: the rows to delete.
        changes: the difference, for people.
        warnings: what doesn't prevent the import.
    """

    file: SettingsFile
    method: Method
    sets: tuple[PlannedSet, ...]
    deleted: tuple[SettingsSet, ...]
    changes: tuple[SetChange, ...]
    warnings: tuple[str, ...]
    token: str


def plan(file: SettingsFile, *, source: str = "", prune: bool = False) -> Plan:
    """Compare ``file`` with what is saved.

    Args:
        source: the name of the project's own settings file, which manages its sets; empty for any
            other file.
        prune: delete sets that the file doesn't contain. Another file doesn't delete managed sets.

    Raises:
        FileRefused: the file doesn't go with the saved sets.
    """
    return _Planner(file, source, prune).plan()


class _Planner:
    """Makes a plan, and collects its problems and warnings."""

    def __init__(self, file: SettingsFile, source: str, prune: bool) -> None:
        self._file, self._source = file, source
        self._saved = saved_sets()
        self._method = saved_method()
        given = {_id(item) for item in file.sets}
        self._others = [(row, config) for row, config in self._saved if _id(row) not in given]
        may_delete = [row for row, _ in self._others if source or not sets_file.manager(row)]
        self._deleted = may_delete if prune else []
        self._stored = Secret.objects.in_bulk([r.secret_id for r, _ in self._saved if r.secret_id])
        self._users = _users(file)
        self._sites = sites.known() if any(i.sites or i.site_senders for i in file.sets) else ()
        self._problems: list[FileProblem] = []
        self._warnings: list[str] = []

    def plan(self) -> Plan:
        saved = {_id(row): (row, config) for row, config in self._saved}
        given = [self._given(item, *saved.get(_id(item), (None, None))) for item in self._file.sets]
        kept = [self._kept(row, config) for row, config in self._left()]
        if self._problems:
            raise FileRefused(self._file.document.name, self._problems)
        sets = (*given, *kept)
        method = self._file.method or self._method
        return Plan(
            self._file,
            method,
            sets,
            tuple(self._deleted),
            self._changes(method, sets),
            tuple(self._warnings),
            self._token(),
        )

    def _left(self) -> list[tuple[SettingsSet, SettingsSetConfig]]:
        """The saved sets that the file doesn't contain and that are not deleted."""
        return [(row, config) for row, config in self._others if row not in self._deleted]

    def _kept(self, row: SettingsSet, config: SettingsSetConfig) -> PlannedSet:
        # A set that the project's file no longer contains is managed in the admin again.
        managed_by = "" if self._source else row.managed_by
        return PlannedSet(row, config, row.enabled, managed_by, before=config)

    def _given(
        self, item: FileSet, row: SettingsSet | None, before: SettingsSetConfig | None
    ) -> PlannedSet:
        self._check_name(item)
        if row is None:
            row = SettingsSet(key=uuid.uuid4(), slug=item.slug)
        elif not self._source and (manager := sets_file.manager(row)):
            text = f"{manager} manages this set. Change it there."
            self._problems.append(self._file.problem(item, "", text))
        config = replace(
            item.config,
            key=str(row.key),
            notify_user=self._notify_user(item),
            sites=tuple(sorted({self._site(item, "sites", name) for name in item.sites})),
            site_senders=self._site_senders(item),
            webhook_secret=row.webhook_secret_id,
        )
        if before is not None and as_lines(before.ca_certificates) == config.ca_certificates:
            # Only the line endings differ, which browsers change.
            config = replace(config, ca_certificates=before.ca_certificates)
        secret, content = self._secret(item, config, row)
        return PlannedSet(
            row,
            replace(config, secret=secret),
            item.enabled,
            self._source or row.managed_by,
            content,
            before,
        )

    def _check_name(self, item: FileSet) -> None:
        for row, _config in self._left():
            if row.name.casefold() == item.config.name.casefold():
                text = (
                    f"The set with the ID “{row.slug}” has this name already. If it is the same "
                    "set, use that ID here; otherwise rename one of them."
                )
                self._problems.append(self._file.problem(item, "name", text))

    def _site(self, item: FileSet, field: str, name: str) -> int:
        """The primary key of a site; a problem if there is none with this name."""
        try:
            return sites.find(name, self._sites).key
        except ValueError as error:
            self._problems.append(self._file.problem(item, field, str(error)))
            return OTHER_SITE

    def _site_senders(self, item: FileSet) -> tuple[SiteSender, ...]:
        found = [
            replace(sender, site=self._site(item, "site_senders", name))
            for name, sender in item.site_senders
        ]
        if len({each.site for each in found}) < len(found):
            text = "A site can have one sender only."
            self._problems.append(self._file.problem(item, "site_senders", text))
        return tuple(sorted(found, key=lambda each: each.site))

    def _notify_user(self, item: FileSet) -> int | str | None:
        if not item.notify_user:
            return None
        if item.notify_user not in self._users:
            self._warn(
                item, f"there is no user “{item.notify_user}”, so the site's ADMINS are notified."
            )
        return self._users.get(item.notify_user)

    def _secret(
        self, item: FileSet, config: SettingsSetConfig, row: SettingsSet
    ) -> tuple[int | None, SecretContent | None]:
        """The ID of the set's secret, and the secret's content if it has to be stored."""
        names = secret_names(config)
        if not names:
            return None, None
        stored = self._stored.get(row.secret_id) if row.secret_id else None
        if not item.references:
            return self._kept_secret(item, config, stored), None
        for reference in item.references.values():
            self._warn_if_unreadable(item, reference)
        content = SecretContent.of(
            {stored_name(config, name): each for name, each in item.references.items()}
        )
        if stored is not None and _content(stored, config) == content:
            return stored.pk, None
        return _NEW_SECRET, content

    def _kept_secret(
        self, item: FileSet, config: SettingsSetConfig, stored: Secret | None
    ) -> int | None:
        names = secret_names(config)
        if stored is None:
            if config.authentication != "oauth2" or OAuth.of(config.oauth).needs_secret:
                self._warn(
                    item, f"it has no {names[0]}. Add it to the file, or enter it in the admin."
                )
            return None
        try:
            stored.content(config.binding())
        except SecretBoundElsewhere:
            text = (
                f"The {names[0]} stored here belongs to another server or user. Write where it is "
                f"read, for example {names[0]}: {{env: SMTP_PASSWORD}}."
            )
            self._problems.append(self._file.problem(item, "", text))
        except SecretError:
            pass  # the comparison before a reload says so
        return stored.pk

    def _warn_if_unreadable(self, item: FileSet, reference: Any) -> None:
        try:
            reference.resolve()
        except ReferenceUnreadable as error:
            self._warn(item, str(error))

    def _warn(self, item: FileSet, text: str) -> None:
        self._warnings.append(f"{item.slug}: {text}")

    def _changes(self, method: Method, sets: Collection[PlannedSet]) -> tuple[SetChange, ...]:
        before = Configuration(self._method, tuple(config for _row, config in self._saved))
        after = Configuration(method, tuple(map(_without_new_secret, sets)))
        changes = {change.key: change for change in difference(before, after)}
        for each in sets:
            if extra := (*self._secret_change(each), *_extra(each)):
                key = each.config.key
                change = changes.get(key, SetChange("changed", each.config.name, key))
                kind = "changed" if change.kind == "moved" else change.kind
                changes[key] = replace(change, kind=kind, fields=(*change.fields, *extra))
        return tuple(changes.values())

    def _secret_change(self, item: PlannedSet) -> Iterator[FieldChange]:
        """The change of a secret that is to be stored."""
        if item.content is None:
            return
        stored = self._stored.get(item.row.secret_id) if item.row.secret_id else None
        old = (labels(stored.references) or pgettext("a password or key", "set")) if stored else ""
        new = labels(item.content.references)
        if old != new:
            yield FieldChange(secret_label(item.config), old, new)
        elif item.before is not None and item.before.binding() == item.config.binding():
            yield FieldChange(secret_label(item.config))  # it was unreadable
        # Otherwise it is only bound to the other fields that change.

    def _token(self) -> str:
        version = live_version()
        state = (
            self._file.document.content,
            self._method,
            version.identity if version else None,
            [(row.pk, row.revision, row.sort_order, row.managed_by, c) for row, c in self._saved],
        )
        return hashlib.sha256(repr(state).encode()).hexdigest()


def _id(item: FileSet | SettingsSet) -> str:
    """A set's ID in files; some databases ignore its case."""
    return item.slug.casefold()


def _users(file: SettingsFile) -> Mapping[str, int | str | None]:
    """The keys of the users that a file names, as sets have them."""
    model = get_user_model()
    names = {item.notify_user for item in file.sets if item.notify_user}
    found = model._default_manager.filter(**{f"{model.USERNAME_FIELD}__in": names})
    return {str(user.get_username()): as_json(user.pk) for user in found}


def _content(stored: Secret, config: SettingsSetConfig) -> SecretContent | None:
    try:
        return stored.content(config.binding())
    except SecretError:
        return None


def _without_new_secret(item: PlannedSet) -> SettingsSetConfig:
    """The set's values, except that a secret that is to be stored doesn't count as a change."""
    if item.content is None:
        return item.config
    return replace(item.config, secret=item.before.secret if item.before else None)


def _extra(item: PlannedSet) -> Iterator[FieldChange]:
    """The changes of what isn't part of a set's values."""
    if item.before is None:
        if not item.enabled:
            yield FieldChange(field_label("enabled"), "", _("no"))
    elif item.enabled != item.row.enabled:
        shown = (_("yes") if value else _("no") for value in (item.row.enabled, item.enabled))
        yield FieldChange(field_label("enabled"), *shown)
    if item.managed_by != item.row.managed_by:
        yield FieldChange(_("Managed by"), item.row.managed_by, item.managed_by)
