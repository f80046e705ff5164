"""Secrets by reference: read from an environment variable or a file, and never stored."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, cast

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.exceptions import ReferenceUnreadable

Source = Literal["env", "file"]

#: The name of the value of a secret that has only one: a password, client secret or key file.
#: The values of an email provider have the names of its options.
PASSWORD = "password"  # noqa: S105
#: Maximum characters of a reference, with its source.
MAX_LENGTH = 500
#: Maximum bytes of a file. The longest secret, a service account key, has about 2,400.
_MAX_BYTES = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is read: the name of an environment variable, or the path of a file."""

    source: Source
    name: str

    @classmethod
    def of(cls, text: str) -> "Reference":
        """Read ``env:VARIABLE`` or ``file:/path``, as from ``str()``.

        Raises:
            ValueError: it is neither.
        """
        source, separator, name = text.partition(":")
        if not separator or not name or source not in ("env", "file"):
            raise ValueError(f"{text!r} is no reference to an environment variable or a file")
        return cls(cast(Source, source), name)

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"

    @property
    def label(self) -> str:
        """What people read, such as “environment variable SMTP_PASSWORD”."""
        text = _("environment variable %s") if self.source == "env" else _("file %s")
        return text % self.name

    def refusal(self) -> str:
        """Why the project's settings don't allow it; empty if they do.

        Otherwise an administrator could send any variable or file of the site, for example
        ``DATABASE_URL``, to a server of their own.
        """
        if len(str(self)) > MAX_LENGTH:
            return _("The name is too long.")
        return self._refused_variable() if self.source == "env" else self._refused_file()

    def _refused_variable(self) -> str:
        if not _VARIABLE.match(self.name):
            return _("Enter only the variable's name, for example SMTP_PASSWORD.")
        if any(fnmatchcase(self.name, pattern) for pattern in conf.SECRET_VARIABLES):
            return ""
        return _(
            "The variable %(name)s can't be used: its name must match %(patterns)s. A "
            "developer can change this with WAGTAIL_SMTP['SECRET_VARIABLES']."
        ) % {"name": self.name, "patterns": ", ".join(conf.SECRET_VARIABLES) or "–"}

    def _refused_file(self) -> str:
        # Compared as text: with “..”, one file would have several names.
        if not os.path.isabs(self.name) or os.path.normpath(self.name) != self.name:
            return _("Enter the file's whole path, for example /run/secrets/smtp_password.")
        if not self.name.isprintable():
            return _("A path can't contain control characters.")
        path = Path(os.path.realpath(self.name))
        directories = [Path(os.path.realpath(each)) for each in conf.SECRET_DIRECTORIES]
        if any(each in path.parents for each in directories):
            return ""
        return _(
            "The file %(name)s can't be used: it must be in one of these directories: "
            "%(directories)s. A developer can change this with WAGTAIL_SMTP['SECRET_DIRECTORIES']."
        ) % {"name": self.name, "directories": ", ".join(conf.SECRET_DIRECTORIES) or "–"}

    def is_same(self, other: "Reference") -> bool:
        """Whether both read the same variable or file, under whatever path."""
        if self == other or self.source == "env" or other.source == "env":
            return self == other
        try:
            return os.path.samefile(self.name, other.name)
        except (OSError, ValueError):
            return False  # one of them doesn't exist

    def state(self) -> tuple[int, ...] | None:
        """What changes if the file is replaced or written; None for a variable or if it is missing.

        A process's variables don't change. Kubernetes replaces mounted secrets by another file.
        """
        try:
            found = os.stat(self.name) if self.source == "file" else None
        except (OSError, ValueError):
            return None
        return found and (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

    @sensitive_variables()
    def resolve(self) -> str:
        """Read the secret.

        Raises:
            ReferenceUnreadable: it is missing, empty, not text or not allowed; says what to do.
        """
        if refusal := self.refusal():
            raise self._unreadable(refusal)
        value = self._from_variable() if self.source == "env" else self._from_file()
        if not value:
            raise self._unreadable(
                _("The %(reference)s is empty. Put the secret into it.") % {"reference": self.label}
            )
        return value

    @sensitive_variables()
    def _from_variable(self) -> str:
        value = os.environ.get(self.name)
        if value is None:
            raise self._unreadable(
                _(
                    "The environment variable %(name)s is missing in this process. Set it for "
                    "every process of the site and restart them."
                )
                % {"name": self.name}
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self._unreadable(
                _("The environment variable %(name)s is not UTF-8 text.") % {"name": self.name}
            ) from None
        return value

    @sensitive_variables()
    def _from_file(self) -> str:
        # Not with Path, whose methods raise some errors before Python 3.12.
        if os.path.exists(self.name) and not os.path.isfile(self.name):
            # Opening a named pipe would wait until someone writes into it.
            raise self._unreadable(_("%(name)s is not a file.") % {"name": self.name})
        try:
            with open(self.name, "rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise self._unreadable(
                _(
                    "The file %(name)s can't be read in this process: %(why)s. Make it readable "
                    "for every process of the site."
                )
                % {"name": self.name, "why": why}
            ) from None
        if len(content) > _MAX_BYTES:
            raise self._unreadable(_("The file %(name)s is too large.") % {"name": self.name})
        try:
            # Editors and "echo" end a file with a line break, and some begin it with a byte order
            # mark. They are not part of the password.
            return content.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise self._unreadable(
                _("The file %(name)s is not UTF-8 text.") % {"name": self.name}
            ) from None

    def _unreadable(self, why: str) -> ReferenceUnreadable:
        return ReferenceUnreadable(why, kind=self.source)


@dataclass(frozen=True, slots=True)
class SecretContent:
    """What is encrypted for a settings set.

    ``text`` is the value itself, or JSON with an email provider's values. Where a value is read
    from elsewhere, ``text`` contains the reference instead. ``references`` says which values those
    are, as in :class:`wagtail_smtp.models.Secret`.
    """

    text: str = field(repr=False)
    references: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    @sensitive_variables()
    def of(cls, values: Mapping[str, "str | Reference"]) -> "SecretContent":
        """Combine a set's secret values: one with the name :data:`PASSWORD`, or a provider's."""
        texts = {name: str(value) for name, value in values.items()}
        references = {
            name: str(value) for name, value in values.items() if isinstance(value, Reference)
        }
        is_single = values.keys() == {PASSWORD}
        return cls(texts[PASSWORD] if is_single else json.dumps(texts), references)

    @sensitive_variables()
    def resolved(self) -> str:
        """Return the text with the current values of its references.

        Raises:
            ReferenceUnreadable: one of them can't be read.
        """
        if not self.references:
            return self.text
        is_single = PASSWORD in self.references
        texts = {PASSWORD: self.text} if is_single else json.loads(self.text)
        for name, reference in self.references.items():
            if texts.get(name) != reference:
                # Only what was encrypted is used.
                raise ReferenceUnreadable(_("Its reference was changed outside of this site."))
            texts[name] = Reference.of(reference).resolve()
        return texts[PASSWORD] if is_single else json.dumps(texts)


def source_of(references: Mapping[str, str]) -> Source:
    """Where the first of the values is read."""
    return Reference.of(next(iter(references.values()))).source


def labels(references: Mapping[str, str]) -> str:
    """Where values are read, for people; see :attr:`Reference.label`."""
    return ", ".join(Reference.of(each).label for each in references.values())
