"""The settings file that the project declares: ``WAGTAIL_SMTP["SETS_FILE"]``.

Its sets are *managed*: they are imported when the site is deployed and locked in the admin.
"""

import os
from pathlib import Path

from django.conf import settings

from wagtail_smtp.conf import conf
from wagtail_smtp.models import SettingsSet


def path() -> Path | None:
    """The project's settings file, or None. A relative path starts at ``BASE_DIR``."""
    if not conf.SETS_FILE:
        return None
    return Path(_base(), conf.SETS_FILE)


def _base() -> Path:
    """The project's folder, or an empty path."""
    return Path(getattr(settings, "BASE_DIR", None) or "")


def source() -> str:
    """The file's name for people: its path in the project, else only its name; empty: no file."""
    file = path()
    if file is None:
        return ""
    base = _base()
    is_inside = base.is_absolute() and file.is_relative_to(base)
    name = file.relative_to(base).as_posix() if is_inside else file.name
    return name[: SettingsSet._meta.get_field("managed_by").max_length]


def is_project_file(given: str | os.PathLike[str]) -> bool:
    """Whether this is the project's settings file, under whatever path."""
    file = path()
    return file is not None and os.path.realpath(given) == os.path.realpath(file)


def manager(item: SettingsSet) -> str:
    """The file that manages a set; empty if it is managed in the admin.

    Without a settings file, the project doesn't manage any set.
    """
    return item.managed_by if conf.SETS_FILE else ""
