"""A pool of sessions to one server, shared by the threads of a process.

The lock is never held during I/O. Waiting threads are served first in, first out. Idle sessions
are used last in, first out, so that surplus ones grow old and are closed.
"""

import contextlib
import random
import ssl
import threading
import time
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from wagtail_smtp.conf import conf
from wagtail_smtp.exceptions import MessageDeferred
from wagtail_smtp.runtime import process, tracing
from wagtail_smtp.transports.base import Availability, Transport
from wagtail_smtp.transports.tls import shared_context


class Session(Protocol):
    """The part of a session that the pool uses."""

    is_broken: bool
    messages: int
    used_at: float
    expires_at: float

    def is_usable(self) -> bool:
        """Whether it can send the next message."""

    def close(self) -> None:
        """Close it; never raises."""

    def abandon(self) -> None:
        """Close the file descriptors without sending anything, after a fork."""


S = TypeVar("S", bound=Session)


class _Waiter(Generic[S]):
    """A waiting thread's place in the queue: it gets a session, or may open one."""

    __slots__ = ("ready", "session")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.session: S | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Sessions in use (or being opened) and idle, and threads that wait for one."""

    used: int = 0
    idle: int = 0
    waiting: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.used + other.used, self.idle + other.idle, self.waiting + other.waiting)


class Pool(Generic[S]):
    """At most ``conf.MAX_SESSIONS`` sessions, opened by ``open_session`` when needed."""

    def __init__(self, open_session: Callable[[], S], name: str) -> None:
        self._open_session = open_session
        self._name = name
        self._is_retired = False
        self._throttled_limit = 0
        self._throttled_until = 0.0
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[S] = []
        self._leased: set[S] = set()
        #: Number of sessions that are open or being opened.
        self.size = 0
        #: Threads that wait for a session, the first at the left.
        self.waiting: deque[_Waiter[S]] = deque()
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def lease(self, *, new: bool = False) -> Iterator[tuple[S, bool]]:
        """Lease a session for one message; yield it and whether it was used before.

        Args:
            new: open a new session, because an older one has just failed.

        Raises:
            MessageDeferred: no session was free in time (phase ``pool``), or opening one failed.
        """
        session, is_reused = self._acquire(new)
        try:
            yield session, is_reused
        finally:
            self._release(session)

    def _acquire(self, new: bool) -> tuple[S, bool]:
        session = self._take(new)
        if new and session is not None:
            # The pool is full: close the oldest session and open a new one in its place.
            with self._lock:
                self._leased.discard(session)
            session.close()
            session = None
        while session is not None:
            try:
                if not _has_aged(session) and session.is_usable():
                    return session, True
            except BaseException:
                # An exception from a signal handler, while waiting for a probe's replies.
                session.is_broken = True
                self._release(session)
                raise
            session = self._replace(session)
        # A place is reserved: open a session, without the lock.
        try:
            session = self._open_session()
        except BaseException:
            with self._lock:
                self._give_up_place()
            raise
        # A random age, so that sessions opened together don't expire together.
        age = conf.SESSION_MAX_AGE * random.uniform(0.8, 1)  # noqa: S311
        session.expires_at = time.monotonic() + age
        with self._lock:
            self._leased.add(session)
        return session, False

    def _take(self, new: bool) -> S | None:
        """Wait for an idle session, or for a free place: then return None.

        Args:
            new: prefer a free place; return the oldest idle session only if there is none.
        """
        with self._lock:
            if self._idle and not new:
                return self._lend(self._idle.pop())
            if self.size < self._limit() and not self.waiting:
                self.size += 1
                return None
            if self._idle:
                return self._lend(self._idle.pop(0))
            waiter = _Waiter[S]()
            self.waiting.append(waiter)
        try:
            with tracing.operation("wait", self._name):
                is_ready = waiter.ready.wait(conf.SESSION_WAIT)
        except BaseException:
            # An exception from a signal handler: pass the session or place on.
            self._cancel_wait(waiter)
            raise
        if not is_ready:
            with self._lock:
                if not waiter.ready.is_set():
                    self.waiting.remove(waiter)
                    raise MessageDeferred(
                        f"{self._name}: no session was free within {conf.SESSION_WAIT:g} seconds "
                        f"({self.size} in use).",
                        phase="pool",
                    )
        return waiter.session

    def _cancel_wait(self, waiter: _Waiter[S]) -> None:
        with self._lock:
            if not waiter.ready.is_set():
                self.waiting.remove(waiter)
                return
            if waiter.session is None:
                self._give_up_place()
                return
        self._release(waiter.session)

    def _lend(self, session: S) -> S:
        self._leased.add(session)
        return session

    def _replace(self, session: S) -> S | None:
        """Close an unusable session; return another idle one, or None to open one instead."""
        with self._lock:
            self._leased.discard(session)
            other = self._lend(self._idle.pop()) if self._idle else None
            if other is not None:
                self.size -= 1
        session.close()
        return other

    def _release(self, session: S) -> None:
        is_kept = not session.is_broken and session.messages < conf.SESSION_MAX_MESSAGES
        with self._lock:
            self._leased.discard(session)
            is_kept = is_kept and not self._is_retired and self.size <= self._limit()
            if not is_kept:
                self._give_up_place()
            elif self.waiting:
                self._wake(self._lend(session))
            else:
                self._idle.append(session)
                self._watch_idle()
        if not is_kept:
            session.close()

    def _give_up_place(self) -> None:
        """Free a session's place; the longest-waiting thread may open another."""
        self.size -= 1
        if self.waiting and self.size < self._limit():
            self.size += 1
            self._wake(None)

    def _wake(self, session: S | None) -> None:
        waiter = self.waiting.popleft()
        waiter.session = session
        waiter.ready.set()

    def _limit(self) -> int:
        if time.monotonic() < self._throttled_until:
            return min(self._throttled_limit, conf.MAX_SESSIONS)
        return conf.MAX_SESSIONS

    def shrink(self, *, opening: bool) -> bool:
        """Lower the limit because the server wants fewer sessions; False if none would be left.

        Args:
            opening: whether it refused a new session, not an open one.
        """
        with self._lock:
            left = self.size if opening else self.size - 1
            if left < 1:
                return False
            self._throttled_limit = left
            self._throttled_until = time.monotonic() + conf.COOL_DOWN
            surplus = self._drop_idle(len(self._idle) - max(0, left - len(self._leased)))
        for session in surplus:
            session.close()
        return True

    def _drop_idle(self, number: int) -> list[S]:
        """Remove the ``number`` oldest idle sessions; the caller closes them."""
        dropped, self._idle = self._idle[: max(0, number)], self._idle[max(0, number) :]
        self.size -= len(dropped)
        return dropped

    def _watch_idle(self) -> None:
        """Start a timer that closes idle sessions even if nothing more is sent."""
        if self._timer is None:
            oldest = min(session.used_at for session in self._idle)
            delay = max(0.0, oldest + conf.SESSION_MAX_IDLE - time.monotonic())
            self._timer = threading.Timer(delay, self._close_idle)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # the interpreter is shutting down, which closes them
                self._timer = None

    def _close_idle(self) -> None:
        with self._lock:
            self._timer = None
            expired = [session for session in self._idle if _has_aged(session)]
            self._idle = [*expired, *(item for item in self._idle if item not in expired)]
            expired = self._drop_idle(len(expired))
            if self._idle:
                self._watch_idle()
        for session in expired:
            session.close()

    def retire(self) -> None:
        """Close idle sessions now, and leased ones when they are returned."""
        with self._lock:
            self._is_retired = True
            idle = self._drop_idle(len(self._idle))
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for session in idle:
            session.close()

    def usage(self) -> "Usage":
        """How the pool is used now."""
        with self._lock:
            return Usage(
                used=self.size - len(self._idle), idle=len(self._idle), waiting=len(self.waiting)
            )

    def after_fork(self) -> None:
        """Start empty in a forked child: the sessions belong to the parent."""
        sessions = [*self._idle, *self._leased]
        self._reset()
        for session in sessions:
            session.abandon()


def _has_aged(session: Session) -> bool:
    now = time.monotonic()
    return now >= session.expires_at or now - session.used_at >= conf.SESSION_MAX_IDLE


_transports: "weakref.WeakSet[PooledTransport[Any]]" = weakref.WeakSet()


class PooledTransport(Transport, Generic[S]):
    """A transport that keeps sessions open. Shared by all threads of a process."""

    supports_login_check = True

    def __init__(self, config: Any) -> None:
        self.config = config
        self.name = config.name
        self.username = config.username
        self.availability = Availability()
        self._ssl_context: ssl.SSLContext | None = None
        self._context_lock = threading.Lock()
        # Keeps itself alive until closed, so that its sessions are closed when the process ends.
        self._keep_alive: PooledTransport[S] | None = self
        this = weakref.proxy(self)
        self.pool: Pool[S] = Pool(lambda: this._open(), config.name)
        _transports.add(self)

    @abstractmethod
    def _open(self) -> S:
        """Open a session."""

    def _context(self, use: Literal["smtp", "http"]) -> ssl.SSLContext:
        # Created once: loading the system's authorities takes longer than sending a message.
        with self._context_lock:
            if self._ssl_context is None:
                self._ssl_context = shared_context(use, self.config.ca_certificates)
            return self._ssl_context

    def close(self) -> None:
        """Close idle sessions now, and those in use after their message."""
        self.pool.retire()
        self._ssl_context = self._keep_alive = None

    def after_fork(self) -> None:
        """Replace locks and sessions in a forked child: they belong to the parent."""
        self._context_lock = threading.Lock()
        self.availability.after_fork()
        self.pool.after_fork()


def usage() -> dict[str, Usage]:
    """How the pools of this process are used now, by the names of their sets."""
    found: dict[str, Usage] = {}
    # After a reload, the earlier pool of a set finishes its messages beside the new one.
    for transport in list(_transports):
        found[transport.name] = found.get(transport.name, Usage()) + transport.pool.usage()
    return found


def _after_fork() -> None:
    for transport in list(_transports):
        transport.after_fork()


def close_all() -> None:
    """Close all sessions of this process."""
    for transport in list(_transports):
        transport.close()


process.after_in_child(_after_fork)
process.at_exit(close_all)
