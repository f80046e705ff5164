"""manage.py smtp_bounces: record the bounces that mail servers return."""

import signal
import sys
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error, close_old_connections

from wagtail_smtp.bounces import mailboxes, messages, record
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current, environments
from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models.bounces import STANDARD_INPUT
from wagtail_smtp.transports import imap

#: EX_TEMPFAIL of sysexits.h: mail servers keep the message and try again.
TRY_AGAIN = 75
#: Seconds between two readings of the mailboxes.
_EVERY = 60


class Command(EmailCommand):
    """Read the mailboxes once or until stopped, or one message from standard input."""

    help = (
        "Record bounces in the delivery log. Without options, read the mailboxes of the live "
        "settings sets once."
    )
    # A mail server starts it for each message.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "--work",
            action="store_true",
            help="Read the mailboxes every minute until stopped by a signal.",
        )
        group.add_argument(
            "--stdin",
            action="store_true",
            help="Read one message from standard input, as a mail server writes it. The exit code "
            f"is 0, or {TRY_AGAIN} if the mail server has to try again later.",
        )
        parser.add_argument(
            "--recipient",
            default="",
            metavar="ADDRESS",
            help="With --stdin: the address that the message was delivered to. Needed only if the "
            "mail server writes it in no header.",
        )

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command; whatever fails, a mail server must not lose the message.

        Raises:
            CommandError: with ``--stdin``, its exit code says that the message was not processed.
        """
        try:
            return super().execute(*args, **options)
        except Exception as error:
            if not options["stdin"]:
                raise
            text = f"The message was not processed: {error or type(error).__name__}"
            raise CommandError(text, returncode=TRY_AGAIN) from error

    def handle(self, *args: Any, work: bool, stdin: bool, recipient: str, **options: Any) -> None:
        if not imap.is_installed():
            raise CommandError(f"A package is missing. Run: {imap.INSTALL}")
        if stdin:
            outcome = record.process(_read(), recipient)
            record.count(STANDARD_INPUT, outcome)
            if options["verbosity"] > 1:
                self.stdout.write(str(outcome))
            return
        self._is_quiet = options["verbosity"] == 0
        if work:
            self._work()
        elif not self._read_mailboxes():
            raise CommandError("Not all mailboxes could be read.")

    def _work(self) -> None:
        stop = threading.Event()
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGINT, signal.SIGTERM):
                # What is being read is recorded first.
                signal.signal(name, lambda *_: stop.set())
        while not stop.is_set():
            close_old_connections()
            try:
                self._read_mailboxes()
            except (Error, ConfigurationUnavailable) as error:
                self.stderr.write(f"Reading failed and will be tried again: {error}")
            stop.wait(_EVERY)

    def _read_mailboxes(self) -> bool:
        """Read all mailboxes; return whether that was possible."""
        if held_from := current().held_from:
            text = environments.origin_text(held_from)
            self.stdout.write(self.style.WARNING(f"{text} Mailboxes are not read here."))
            return True
        are_read = True
        for item, error in mailboxes.read_all():
            if error is not None:
                are_read = False
                self.stderr.write(str(error))
            elif not self._is_quiet:
                self.stdout.write(f"{item.name}: read.")
        return are_read


def _read() -> bytes:
    """The beginning of a message, read to its end: mail servers expect that."""
    content = sys.stdin.buffer.read(messages.MAX_SIZE)
    while sys.stdin.buffer.read(messages.MAX_SIZE):
        pass
    return content
