"""Write entries into the delivery log: with their messages, otherwise alone, otherwise later.

Each attempt is a separate transaction. Errors are caught outside it, because a transaction whose
error was caught inside may be rolled back silently.
"""

import logging
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from django.db import DataError, Error, IntegrityError, OperationalError
from django.db.models import CharField, Model

from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.exceptions import StorageFull
from wagtail_smtp.live.db import autonomous, connections, deferred
from wagtail_smtp.models import LogEntry

logger = logging.getLogger(__name__)

#: The error code of MySQL and MariaDB for a character that the column can't store.
_INCORRECT_STRING = 1366
#: Approximate number of bytes of a row in memory.
_OF_ROW = 2048
#: Characters to replace if the database can't store a text: utf8mb3 has three bytes per character,
#: and every character set has ASCII.
_PLAINER = ((re.compile("[^\x00-\uffff]"), "\ufffd"), (re.compile("[^\x00-\x7f]"), "?"))

_plainer: ContextVar[tuple[tuple[re.Pattern[str], str], ...]] = ContextVar(
    "wagtail_smtp_plainer", default=()
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WriteAttempt:
    """One attempt to write an entry.

    Attributes:
        entry, rows: the entry with its recipients and attempts.
        work: writes them, in a transaction; None: there is nothing else to write.
        is_stored: whether ``work`` also stores the message.
        may_be_late: whether it may still be written after the sender got an error.
        size: approximate number of bytes of the message that it keeps in memory.
    """

    entry: LogEntry
    rows: Sequence[Model]
    work: Callable[[], object] | None = None
    is_stored: bool = False
    may_be_late: bool = True
    size: int = 0

    @property
    def total_size(self) -> int:
        """Approximate number of bytes it keeps in memory while it waits."""
        return self.size + _OF_ROW * (1 + len(self.rows))


def write(attempts: Sequence[WriteAttempt]) -> LogEntry | None:
    """Write an entry with the first attempt that succeeds.

    Returns:
        The entry; None if it will be written later.

    Raises:
        Exception: it won't be written.
    """
    alias = connections.write_alias()
    failure: Exception
    for attempt in attempts:
        try:
            return _written(attempt, alias)
        except Exception as error:
            failure = error
            if attempt is not attempts[-1]:
                stored_message.forget()
                logger.warning(
                    "The message of entry %s is not stored: %.200s", attempt.entry.key, error
                )
            if isinstance(error, TimeoutError):
                break  # the next attempt would wait just as long
    late = [attempt for attempt in attempts if attempt.may_be_late]
    is_passing = isinstance(failure, Error | OSError) and not is_of_value(failure)
    if not is_passing or not _put_later(late, alias):
        raise failure
    logger.warning(
        "The delivery log can't be written now; it will be written later: %.200s", failure
    )
    return None


def _put_later(attempts: Sequence[WriteAttempt], alias: str) -> bool:
    """Write it later; without the message if too many bytes are waiting already."""
    if deferred.put(
        lambda: _late(attempts, alias), alias, max(attempt.total_size for attempt in attempts)
    ):
        return True
    last = attempts[-1:]
    return len(attempts) > 1 and deferred.put(lambda: _late(last, alias), alias, last[0].total_size)


def _late(attempts: Sequence[WriteAttempt], alias: str) -> None:
    for attempt in attempts[:-1]:
        try:
            _written(attempt, alias)
        except Error as error:
            logger.warning(
                "The message of entry %s is not stored: %.200s", attempt.entry.key, error
            )
        else:
            return
    _written(attempts[-1], alias)


def _written(attempt: WriteAttempt, alias: str) -> LogEntry:
    entry = attempt.entry
    rides_along = autonomous.is_in_callers_transaction(alias)
    if rides_along and attempt.is_stored and not deferred.has_room(attempt.total_size):
        # If the caller's transaction were rolled back, the message would be lost.
        raise StorageFull("Too many messages wait for the end of a transaction.")

    def run() -> None:
        if attempt.work is None:
            autonomous.insert(entry, attempt.rows, alias)
        else:
            autonomous.write(attempt.work, alias)

    try:
        retry_with_plainer_rows(run, [entry, *attempt.rows])
    except IntegrityError:
        # It was written, but the connection was lost before the database confirmed it.
        found = LogEntry.objects.using(alias).filter(key=entry.key).values_list("pk", flat=True)
        entry.pk = autonomous.write(found.first, alias)
        if entry.pk is None:
            raise
    entry.is_stored = attempt.is_stored
    if rides_along:
        deferred.after_rollback(lambda: _written(attempt, alias), alias, attempt.total_size)
    return entry


def retry_with_plainer_rows(run: Callable[[], T], rows: Sequence[Model]) -> T:
    """Write ``rows``; if the database can't store their texts, replace characters and try again.

    Args:
        run: writes the rows, in a separate transaction or savepoint.
    """
    steps = iter(_PLAINER)
    while True:
        try:
            return run()
        except (Error, UnicodeError) as error:
            if not is_of_value(error) or not any(_replace(rows, *step) for step in steps):
                raise


def retry_with_plainer_texts(run: Callable[[], None]) -> None:
    """Call ``run``; if the database can't store its texts, replace characters and call it again.

    Args:
        run: makes its rows itself, with texts from :func:`as_plain`, and writes them.
    """
    token = _plainer.set(())
    try:
        for step in _PLAINER:
            try:
                return run()
            except (Error, UnicodeError) as error:
                if not is_of_value(error):
                    raise
                _plainer.set((*_plainer.get(), step))
        run()
    finally:
        _plainer.reset(token)


def as_plain(text: str) -> str:
    """Return ``text`` with only the characters that :func:`retry_with_plainer_texts` allows now."""
    for pattern, replacement in _plainer.get():
        text = pattern.sub(replacement, text)
    return text


def is_of_value(error: BaseException) -> bool:
    """Whether the database can be reached but refused a value."""
    if isinstance(error, OperationalError):
        return error.args[:1] == (_INCORRECT_STRING,)
    return isinstance(error, DataError | IntegrityError | UnicodeError)


def _replace(rows: Sequence[Model], pattern: re.Pattern[str], replacement: str) -> bool:
    """Whether there was something to replace."""
    found = False
    for row in rows:
        for field in row._meta.concrete_fields:
            value = getattr(row, field.attname)
            if isinstance(field, CharField) and isinstance(value, str):
                plain = pattern.sub(replacement, value)
                found = found or plain != value
                setattr(row, field.attname, plain)
    return found
