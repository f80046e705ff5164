"""A process that does what a test tells it: a line of JSON in, a line of JSON out."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import django

from tests.support.servers.smtp_server import CA_PEM, SMTPServer


class Console:
    """Runs the functions of this module's lower half in a process of their own."""

    module = "tests.processes.programs.console"

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> "Console":
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            env=child_environment(self._environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            self._process.terminate()

    def __call__(self, name: str, **arguments: Any) -> Any:
        """Call the function and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([name, arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"{name} failed, see standard error"
        return json.loads(answer)


def child_environment(extra: dict[str, str]) -> dict[str, str]:
    """The environment of a process that isn't a test."""
    return os.environ | {"DJANGO_SETTINGS_MODULE": "tests.processes.programs.settings"} | extra


def set_for(server: SMTPServer) -> dict[str, object]:
    """The values of a settings set for ``server``."""
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "encryption": server.encryption,
        "ca_certificates": CA_PEM,
        "username": server.username,
        "password": server.password,
    }


def subjects(server: SMTPServer) -> list[str]:
    """The subjects of what arrived, in order."""
    return [received.message["Subject"] for received in server.received]


def migrate() -> None:
    """Create the tables."""
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)


def make_sets(servers: list[dict[str, Any]]) -> None:
    """Store a set for each server and make them live."""
    from wagtail_smtp import live
    from wagtail_smtp.models import Secret, SettingsSet

    for position, values in enumerate(servers):
        password = values.pop("password")
        item = SettingsSet(name=f"Set {position}", sort_order=position, **values)
        item.secret = Secret.store(password, item.frozen(()).binding(), item.key)
        item.save()
    live.reload()


def switch() -> list[float]:
    """Reverse the order of the sets and reload; says when reload() began and had returned."""
    from wagtail_smtp import live
    from wagtail_smtp.models import SettingsSet

    for position, item in enumerate(SettingsSet.objects.order_by("-sort_order")):
        SettingsSet.objects.filter(pk=item.pk).update(sort_order=position)
    began = time.monotonic()
    assert live.reload() is not None
    return [began, time.monotonic()]


def send(subject: str) -> list[str]:
    """Send a message and return the warnings that were logged."""
    from django.core.mail import send_mail

    return _warnings(lambda: send_mail(subject, "Body", None, ["someone@example.org"]))


def mail_admins_in_broken_transaction(subject: str) -> list[str]:
    """Tell the admins of SQL that failed, inside its transaction; return the warnings."""
    from django.core.mail import mail_admins
    from django.db import Error, connection, transaction

    with transaction.atomic():
        try:
            connection.cursor().execute("SELECT 1 / 0")
        except Error:
            warnings = _warnings(lambda: mail_admins(subject, "Body"))
        transaction.set_rollback(True)
    return warnings


def send_without_table() -> list[str]:
    """Send inside a transaction without the plugin's tables, then go on with it.

    Returns the name of the error, and what the transaction has written.
    """
    from django.core.mail import send_mail
    from django.db import connection, transaction

    result = []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE words (word varchar(20))")
        try:
            send_mail("Hello", "Body", None, ["someone@example.org"])
        except OSError as error:
            result.append(type(error).__name__)
        cursor.execute("INSERT INTO words VALUES ('committed')")
    with connection.cursor() as cursor:
        cursor.execute("SELECT word FROM words")
        result += [word for (word,) in cursor.fetchall()]
    return result


def _warnings(action: Callable[[], object]) -> list[str]:
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("wagtail_smtp")
    logger.addHandler(handler)
    try:
        action()
    finally:
        logger.removeHandler(handler)
    return warnings


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
