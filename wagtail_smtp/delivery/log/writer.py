"""Writing entries into the delivery log: with their messages, else alone, else later.

Each way is a transaction of its own, and its errors are caught outside: what is caught inside may
be rolled back without a word.
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

#: The error of MySQL and MariaDB about a character that the column can't hold.
_INCORRECT_STRING = 1366
#: About how many bytes a row takes in memory.
_OF_ROW = 2048
#: What is replaced where the database can't hold a text: utf8mb3 has three bytes for a character,
#: and everything holds ASCII.
_PLAINER = ((re.compile("[^\x00-\uffff]"), "\ufffd"), (re.compile("[^\x00-\x7f]"), "?"))

_plainer: ContextVar[tuple[tuple[re.Pattern[str], str], ...]] = ContextVar(
    "wagtail_smtp_plainer", default=()
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WriteAttempt:
    """One way to write an entry.

    Attributes:
        entry, rows: the entry and what belongs to it.
        work: writes them, in a transaction; None: they are all there is to write.
        is_stored: whether ``work`` stores the message too.
        may_be_late: whether it may be done when the sender was told that it failed.
        size: about how many bytes of the message it holds.
    """

    entry: LogEntry
    rows: Sequence[Model]
    work: Callable[[], object] | None = None
    is_stored: bool = False
    may_be_late: bool = True
    size: int = 0

    @property
    def held(self) -> int:
        """About how many bytes wait with it."""
        return self.size + _OF_ROW * (1 + len(self.rows))


def write(ways: Sequence[WriteAttempt]) -> LogEntry | None:
    """Write an entry, the first way that works. None: it can only be written later.

    Raises:
        Exception: it isn't written at all.
    """
    alias = connections.write_alias()
    failure: Exception
    for way in ways:
        try:
            return _written(way, alias)
        except Exception as error:
            failure = error
            if way is not ways[-1]:
                stored_message.forget()
                logger.warning(
                    "The message of entry %s is not stored: %.200s", way.entry.key, error
                )
            if isinstance(error, TimeoutError):
                break  # the next way would wait as long
    late = [way for way in ways if way.may_be_late]
    is_passing = isinstance(failure, Error | OSError) and not is_of_value(failure)
    if not is_passing or not _put_later(late, alias):
        raise failure
    logger.warning("The delivery log can't be written now, but later: %.200s", failure)
    return None


def _put_later(ways: Sequence[WriteAttempt], alias: str) -> bool:
    """Have it written later; without the message, if too many bytes wait already."""
    if deferred.put(lambda: _late(ways, alias), alias, max(way.held for way in ways)):
        return True
    last = ways[-1:]
    return len(ways) > 1 and deferred.put(lambda: _late(last, alias), alias, last[0].held)


def _late(ways: Sequence[WriteAttempt], alias: str) -> None:
    for way in ways[:-1]:
        try:
            _written(way, alias)
        except Error as error:
            logger.warning("The message of entry %s is not stored: %.200s", way.entry.key, error)
        else:
            return
    _written(ways[-1], alias)


def _written(way: WriteAttempt, alias: str) -> LogEntry:
    entry = way.entry
    rides_along = autonomous.rides_along(alias)
    if rides_along and way.is_stored and not deferred.has_room(way.held):
        # If the caller's transaction is rolled back, the message would be gone.
        raise StorageFull("Too many messages wait for the end of a transaction.")

    def run() -> None:
        if way.work is None:
            autonomous.insert(entry, way.rows, alias)
        else:
            autonomous.write(way.work, alias)

    try:
        as_held(run, [entry, *way.rows])
    except IntegrityError:
        # It was written, but the answer got lost with the connection.
        found = LogEntry.objects.using(alias).filter(key=entry.key).values_list("pk", flat=True)
        entry.pk = autonomous.write(found.first, alias)
        if entry.pk is None:
            raise
    entry.is_stored = way.is_stored
    if rides_along:
        deferred.after_rollback(lambda: _written(way, alias), alias, way.held)
    return entry


def as_held(run: Callable[[], T], rows: Sequence[Model]) -> T:
    """Write ``rows``; if the database can't hold their texts, replace what is in the way.

    Args:
        run: writes them, in a transaction or savepoint of its own.
    """
    steps = iter(_PLAINER)
    while True:
        try:
            return run()
        except (Error, UnicodeError) as error:
            if not is_of_value(error) or not any(_replace(rows, *step) for step in steps):
                raise


def as_plain_as_needed(run: Callable[[], None]) -> None:
    """The same for what makes its rows itself, of texts that went through :func:`as_plain`."""
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
    """``text`` as it is, or as :func:`as_plain_as_needed` wants it."""
    for pattern, replacement in _plainer.get():
        text = pattern.sub(replacement, text)
    return text


def is_of_value(error: BaseException) -> bool:
    """Whether the database is there, but doesn't take a value as it is."""
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
