"""The live configuration, checked in the database before each send."""

import concurrent.futures
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from wagtail_smtp.conf import conf
from wagtail_smtp.config import values
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import environments, set_secrets
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.resolve import transport_config, transport_of
from wagtail_smtp.models import ConfigurationVersion, Secret
from wagtail_smtp.runtime import process
from wagtail_smtp.transports.pool import PooledTransport, close_all

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Versions that a process keeps in memory, since older transactions may still see them.
_KEPT = 4
#: Seconds that an event loop waits for the lookup in another thread.
_LOOK_UP_TIMEOUT = 15


class LiveConfiguration:
    """A live version with its transports, shared by all threads of the process.

    If nothing was ever made live, ``number`` is 0 and ``identity`` is None. ``environment`` is
    where the version was made live; empty if that environment had no name.
    """

    def __init__(
        self,
        number: int,
        identity: uuid.UUID | None,
        configuration: Configuration,
        secrets: dict[int, Secret] | None = None,
        environment: str = "",
    ) -> None:
        self.number = number
        self.identity = identity
        self.configuration = configuration
        self.environment = environment
        self._secrets = secrets or {}
        #: By the set's key, and the state of the files that its secret is read from.
        self._transports: dict[tuple[str, tuple[object, ...]], PooledTransport[Any]] = {}

    @property
    def held_from(self) -> str:
        """The environment that the version comes from if it isn't this process's; else empty.

        Raises:
            ImproperlyConfigured: the name of this environment is not valid, even if nothing is
                live.
        """
        if self.environment == conf.environment():
            return ""
        return environments.origin(self.environment) if self.identity else ""

    def transport(self, item: SettingsSetConfig) -> PooledTransport[Any]:
        """Return the transport of one of this configuration's sets.

        Raises:
            SecretError: the set's password or key can't be used.
        """
        secret = self._secrets.get(item.secret) if item.secret else None
        # Read before the file: if it changes meanwhile, it is read again with the next message.
        is_read_elsewhere = secret is not None and bool(secret.references)
        place = (item.key, set_secrets.file_states(secret) if is_read_elsewhere else ())
        transport = self._transports.get(place)
        if transport is not None and item.authentication != "default":
            return transport
        config = transport_config(item, secret)
        if transport is None:
            transport = self._transports.setdefault(place, transport_of(config))
            self._close_others(place)
            return transport
        # Default credentials come from Django's settings, which tests may override.
        if transport.config != config:
            transport.close()
            transport = self._transports[place] = transport_of(config)
        return transport

    def _close_others(self, place: tuple[str, tuple[object, ...]]) -> None:
        """Close the set's transports with a secret from an earlier state of its files."""
        others = [each for each in list(self._transports) if each[0] == place[0] and each != place]
        for other in others:
            # Another thread may have removed it.
            if (replaced := self._transports.pop(other, None)) is not None:
                replaced.close()

    def close(self) -> None:
        """Close the sessions; those in use are closed when they become free."""
        for transport in list(self._transports.values()):
            transport.close()


#: Used until a version is made live: standard delivery.
NO_VERSION = LiveConfiguration(0, None, Configuration(method="standard"))


class _Memory:
    """The versions that this process has loaded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: OrderedDict[uuid.UUID, LiveConfiguration] = OrderedDict()
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self.latest: LiveConfiguration | None = None
        self._latest_at = 0.0

    def get(self, identity: uuid.UUID) -> LiveConfiguration | None:
        return self._loaded.get(identity)

    def add(self, identity: uuid.UUID, live: LiveConfiguration) -> LiveConfiguration:
        """Keep and return ``live``, or the object that another thread added first."""
        with self._lock:
            live = self._loaded.setdefault(identity, live)
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)[1].close()
            return live

    def set_latest(self, live: LiveConfiguration, asked_at: float) -> None:
        """Store the newest committed version as of the monotonic time ``asked_at``."""
        replaced: LiveConfiguration | None = None
        with self._lock:
            if asked_at >= self._latest_at:
                if self.latest is not live:
                    replaced = self.latest
                self.latest, self._latest_at = live, asked_at
            if replaced is not None and replaced.identity is not None:
                # If an older transaction still sees it, it is loaded again.
                self._loaded.pop(replaced.identity, None)
        if replaced is not None:
            replaced.close()

    def executor(self) -> concurrent.futures.ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = concurrent.futures.ThreadPoolExecutor(
                    2, thread_name_prefix="wagtail_smtp"
                )
            return self._executor

    def after_fork(self) -> None:
        # Another thread may have held the lock, and the parent's threads don't exist here.
        self._lock = threading.Lock()
        self._executor = None


_memory = _Memory()
process.after_in_child(_memory.after_fork)


def forget() -> None:
    """Reset to the state of a new process; for tests."""
    close_all()
    _memory.__init__()  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class LookUp:
    """What is live now.

    Attributes:
        has_suppressed: whether any address is suppressed. Also true if only the caller's
            transaction is broken, and false if the database is unavailable: asking it again would
            make each message wait twice.
    """

    live: LiveConfiguration
    has_suppressed: bool


def current() -> LiveConfiguration:
    """Return the configuration that is live now.

    If the database is unavailable, or its versions are gone, this returns the version loaded last.

    Raises:
        ConfigurationUnavailable: the live version can't be loaded, or the database is unavailable
            and no version was loaded before.
    """
    return look_up().live


def look_up() -> LookUp:
    """Return what each message needs to know, with one query; see :func:`current`."""
    # Django refuses queries on a running event loop.
    return _look_up_elsewhere() if process.runs_event_loop() else _look_up()


def read(work: Callable[[], T]) -> T:
    """Run ``work``, which reads the database; in another thread if this one can't.

    Raises:
        django.db.Error: as ``work`` does.
        TimeoutError: another thread could not read it in time.
    """
    if not process.runs_event_loop():
        try:
            return work()
        except Error:
            if not _is_broken(connections[db_connections.write_alias()]):
                raise
    return _memory.executor().submit(_and_close, work).result(timeout=_LOOK_UP_TIMEOUT)


def _look_up_elsewhere() -> LookUp:
    """Look it up in another thread, with a separate connection."""
    future = _memory.executor().submit(_and_close, _look_up)
    try:
        return future.result(timeout=_LOOK_UP_TIMEOUT)
    except concurrent.futures.TimeoutError as error:
        # If the lookup did not even start, this says nothing about the database.
        is_silent = future.running()
        future.cancel()
        return _without_database(error, is_silent)


def _and_close(work: Callable[[], T]) -> T:
    with db_connections.borrowed_connection():
        return work()


def _look_up() -> LookUp:
    asked_at = time.monotonic()
    connection = connections[db_connections.write_alias()]
    try:
        # Until the first success, the table may be missing, and a failing query must not break
        # the caller's transaction. After that, a savepoint would only cost two round trips.
        newest = db_connections.newest(connection, savepoint=_memory.latest is None)
    except Error as error:
        if _memory.latest is None and _is_broken(connection):
            # Only the caller's transaction is broken; the database may still answer.
            return _look_up_elsewhere()
        is_broken = _is_broken(connection)
        return _without_database(error, _has_no_table(connection), has_suppressed=is_broken)
    if newest.version is None:
        # Versions are never all deleted: a database is being restored, or this transaction began
        # before the first was made live. Tests of a project empty their tables.
        if _memory.latest is not None and not db_connections.is_under_test():
            return LookUp(_memory.latest, newest.has_suppressed)
        _memory.set_latest(NO_VERSION, asked_at)
        return LookUp(NO_VERSION, newest.has_suppressed)
    number, identity = newest.version
    live = _memory.get(identity) or _memory.add(identity, _load(number, identity))
    if not db_connections.is_uncommitted(identity, connection):
        _memory.set_latest(live, asked_at)
    return LookUp(live, newest.has_suppressed)


def _is_broken(connection: BaseDatabaseWrapper) -> bool:
    """Whether there is an open transaction that can't be used any more."""
    if not connection.in_atomic_block:
        return False
    return connection.needs_rollback or not _answers(connection)


def _answers(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is not None and connection.is_usable()


def _has_no_table(connection: BaseDatabaseWrapper) -> bool:
    """Whether a lookup failed because there is no table or no connection.

    After any other error, such as a lock timeout, there may be a stored redirect.
    """
    if _memory.latest is not None:
        return False
    try:
        if not _answers(connection):
            return True
        tables = connection.introspection.table_names()
    except Error:
        return False
    return ConfigurationVersion._meta.db_table not in tables


def _without_database(
    error: Exception, no_database: bool, *, has_suppressed: bool = False
) -> LookUp:
    live = _memory.latest
    if live is None:
        raise ConfigurationUnavailable(
            "The email configuration can't be read from the database, and nothing was "
            "loaded before. No email is sent, since it may have to be redirected. "
            "If the plugin was just installed, run 'manage.py migrate'.",
            no_database=no_database,
        ) from error
    logger.warning(
        "The email configuration can't be read from the database (%s); version %d, loaded "
        "earlier, is used.",
        type(error).__name__,
        live.number,
    )
    return LookUp(live, has_suppressed)


def _load(number: int, identity: uuid.UUID) -> LiveConfiguration:
    alias = db_connections.write_alias()
    try:
        row = ConfigurationVersion.objects.using(alias).get(number=number, identity=identity)
        if row.format > values.FORMAT:
            raise ConfigurationUnavailable(
                f"Version {number} of the email configuration was written by a newer release "
                "of wagtail-smtp. Update this process before it sends email."
            )
        config = values.from_json(row.content)
        wanted = [item.secret for item in config.sets if item.secret]
        secrets = Secret.objects.using(alias).in_bulk(wanted)
    except (Error, ConfigurationVersion.DoesNotExist, ValueError) as error:
        # There is a newer version, and it may redirect email: don't continue with an older one.
        raise ConfigurationUnavailable(
            f"Version {number} of the email configuration is live but can't be read: {error}"
        ) from error
    return LiveConfiguration(number, identity, config, secrets, row.environment)
