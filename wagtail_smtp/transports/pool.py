"""A pool of sessions to one server, shared by the threads of a process.

The lock is held to decide, never during I/O. First come, first served among those who wait;
last in, first out among idle sessions, so that those not needed grow old and are closed.
"""

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from wagtail_smtp.conf import conf
from wagtail_smtp.exceptions import MessageDeferred


class Session(Protocol):
    """What a pool has to know of a session."""

    is_broken: bool
    messages: int
    used_at: float
    expires_at: float

    def is_usable(self) -> bool:
        """Whether the next message may go over it."""

    def close(self) -> None:
        """Close it; never raises."""

    def abandon(self) -> None:
        """Close its descriptors without a word, after a fork."""


S = TypeVar("S", bound=Session)


class _Turn(Generic[S]):
    """The place of one who waits, woken with a session or with leave to open one."""

    __slots__ = ("is_due", "session")

    def __init__(self) -> None:
        self.is_due = threading.Event()
        self.session: S | None = None


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
        #: Sessions that are open or being opened.
        self._count = 0
        self._waiting: deque[_Turn[S]] = deque()
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def lease(self, *, new: bool = False) -> Iterator[tuple[S, bool]]:
        """A session for one message, and whether it was used before.

        Args:
            new: open one, since an older one has just failed.

        Raises:
            MessageDeferred: none came free in time (phase ``pool``), or opening one failed.
        """
        session, is_reused = self._acquire(new)
        try:
            yield session, is_reused
        finally:
            self._release(session)

    def _acquire(self, new: bool) -> tuple[S, bool]:
        session = self._take(new)
        if new and session is not None:
            # The oldest had to go: its place is ours.
            with self._lock:
                self._leased.discard(session)
            session.close()
            session = None
        while session is not None:
            try:
                if not _has_aged(session) and session.is_usable():
                    return session, True
            except BaseException:
                # A signal's exception, while a probe's replies are waited for.
                session.is_broken = True
                self._release(session)
                raise
            session = self._exchange(session)
        # A place is ours: open a session for it, outside the lock.
        try:
            session = self._open_session()
        except BaseException:
            with self._lock:
                self._give_up_place()
            raise
        # Not all at the same age: sessions opened together would all end together.
        age = conf.SESSION_MAX_AGE * random.uniform(0.8, 1)  # noqa: S311
        session.expires_at = time.monotonic() + age
        with self._lock:
            self._leased.add(session)
        return session, False

    def _take(self, new: bool) -> S | None:
        """An idle session, or None with leave to open one; waits for either.

        Args:
            new: a session is only taken, the oldest, if there may be no other.
        """
        with self._lock:
            if self._idle and not new:
                return self._lend(self._idle.pop())
            if self._count < self._limit() and not self._waiting:
                self._count += 1
                return None
            if self._idle:
                return self._lend(self._idle.pop(0))
            turn = _Turn[S]()
            self._waiting.append(turn)
        try:
            is_due = turn.is_due.wait(conf.SESSION_WAIT)
        except BaseException:
            # A signal's exception: what comes, or has come, is for the next.
            self._pass_by(turn)
            raise
        if not is_due:
            with self._lock:
                if not turn.is_due.is_set():
                    self._waiting.remove(turn)
                    raise MessageDeferred(
                        f"{self._name}: all {self._count} sessions were in use for "
                        f"{conf.SESSION_WAIT:g} seconds.",
                        phase="pool",
                    )
        return turn.session

    def _pass_by(self, turn: _Turn[S]) -> None:
        with self._lock:
            if not turn.is_due.is_set():
                self._waiting.remove(turn)
                return
            if turn.session is None:
                self._give_up_place()
                return
        self._release(turn.session)

    def _lend(self, session: S) -> S:
        self._leased.add(session)
        return session

    def _exchange(self, session: S) -> S | None:
        """Close an unusable session; another idle one, or None: its place is free to use."""
        with self._lock:
            self._leased.discard(session)
            other = self._lend(self._idle.pop()) if self._idle else None
            if other is not None:
                self._count -= 1
        session.close()
        return other

    def _release(self, session: S) -> None:
        is_kept = not session.is_broken and session.messages < conf.SESSION_MAX_MESSAGES
        with self._lock:
            self._leased.discard(session)
            is_kept = is_kept and not self._is_retired and self._count <= self._limit()
            if not is_kept:
                self._give_up_place()
            elif self._waiting:
                self._wake(self._lend(session))
            else:
                self._idle.append(session)
                self._watch_idle()
        if not is_kept:
            session.close()

    def _give_up_place(self) -> None:
        """A session is gone; whoever waits longest may open another."""
        self._count -= 1
        if self._waiting and self._count < self._limit():
            self._count += 1
            self._wake(None)

    def _wake(self, session: S | None) -> None:
        turn = self._waiting.popleft()
        turn.session = session
        turn.is_due.set()

    def _limit(self) -> int:
        if time.monotonic() < self._throttled_until:
            return min(self._throttled_limit, conf.MAX_SESSIONS)
        return conf.MAX_SESSIONS

    def shrink(self, *, opening: bool) -> bool:
        """The server wants fewer sessions; whether others are left to wait for.

        Args:
            opening: it refused a new session; otherwise one that it had let in.
        """
        with self._lock:
            left = self._count if opening else self._count - 1
            if left < 1:
                return False
            self._throttled_limit = left
            self._throttled_until = time.monotonic() + conf.COOL_DOWN
            surplus = self._drop_idle(len(self._idle) - max(0, left - len(self._leased)))
        for session in surplus:
            session.close()
        return True

    def _drop_idle(self, number: int) -> list[S]:
        """Take the ``number`` oldest idle sessions out; the caller closes them."""
        dropped, self._idle = self._idle[: max(0, number)], self._idle[max(0, number) :]
        self._count -= len(dropped)
        return dropped

    def _watch_idle(self) -> None:
        """Let a timer close idle sessions though nothing is sent any more."""
        if self._timer is None:
            oldest = min(session.used_at for session in self._idle)
            delay = max(0.0, oldest + conf.SESSION_MAX_IDLE - time.monotonic())
            self._timer = threading.Timer(delay, self._close_idle)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # the interpreter is ending, and closes them then
                self._timer = None

    def _close_idle(self) -> None:
        with self._lock:
            self._timer = None
            worn = [session for session in self._idle if _has_aged(session)]
            self._idle = [*worn, *(item for item in self._idle if item not in worn)]
            worn = self._drop_idle(len(worn))
            if self._idle:
                self._watch_idle()
        for session in worn:
            session.close()

    def retire(self) -> None:
        """Close idle sessions now and leased ones when they come back."""
        with self._lock:
            self._is_retired = True
            idle = self._drop_idle(len(self._idle))
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for session in idle:
            session.close()

    def after_fork(self) -> None:
        """In the child: the sessions and the threads that use them are the parent's."""
        sessions = [*self._idle, *self._leased]
        self._reset()
        for session in sessions:
            session.abandon()


def _has_aged(session: Session) -> bool:
    now = time.monotonic()
    return now >= session.expires_at or now - session.used_at >= conf.SESSION_MAX_IDLE
