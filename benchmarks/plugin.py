"""The plugin as a project would have it: sets in the database, made live."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection

from benchmarks.messages import Build
from benchmarks.services import PASSWORD, USERNAME, Around
from tests.processes.programs.console import make_sets

#: A category of the project's own (tests/settings.py), carried by a set of its own.
_COLD = "invoice"


def use(
    around: Around, ports: list[int], encryption: str = "starttls", *, cold: bool = False
) -> None:
    """Make a set for each of the ports live, with ``cold`` also one for :class:`Cold`."""
    from wagtail_smtp.models import SettingsSet

    SettingsSet.objects.all().delete()
    sets = [_values(around, port, encryption) for port in ports]
    if cold:
        sets.insert(0, _values(around, ports[0], encryption) | {"categories": [_COLD]})
    make_sets(sets)


def _values(around: Around, port: int, encryption: str) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "encryption": encryption,
        "ca_certificates": around.authority_pem if encryption != "none" else "",
        "username": USERNAME,
        "password": PASSWORD,
    }


@contextmanager
def settings_of(**values: Any) -> Iterator[None]:
    """Django's settings with other values."""
    before = {name: getattr(settings, name) for name in values}
    for name, value in values.items():
        setattr(settings, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def database_name() -> str:
    """The database that this process uses, as tables name it."""
    if connection.vendor != "sqlite":
        return str(connection.display_name)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        (mode,) = cursor.fetchone()
    return "SQLite, write-ahead" if mode == "wal" else "SQLite"


class Ours:
    """The project's backend, which is the plugin's."""

    def __init__(self, build: Build) -> None:
        self._build = build

    def __call__(self) -> None:
        assert self._build(None).send() == 1


class Cold:
    """The same with a set whose sessions are too old to be used: each message opens one.

    What a process keeps beside sessions, such as the SSL context, stays; so does what it has seen
    of the server, by two messages over one session ahead of the first measurement.
    """

    def __init__(self, build: Build) -> None:
        self._build = build
        self._is_known = False

    def __call__(self) -> None:
        if not self._is_known:
            self._is_known = True
            for _ in range(2):
                assert self._message().send() == 1
        message = self._message()
        settings.WAGTAIL_SMTP["SESSION_MAX_IDLE"] = 1e-6
        try:
            assert message.send() == 1
        finally:
            del settings.WAGTAIL_SMTP["SESSION_MAX_IDLE"]

    def _message(self) -> EmailMessage:
        message = self._build(None)
        message.email_category = _COLD  # type: ignore[attr-defined]
        return message
