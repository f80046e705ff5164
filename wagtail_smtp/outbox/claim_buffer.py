"""Messages claimed for all workers of a process, distributed a window at a time.

If each worker claimed for itself, one could send a hundred messages while others idle.
"""

import logging
import threading
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import Error, close_old_connections

from wagtail_smtp.models import OutboxMessage
from wagtail_smtp.outbox import claims

logger = logging.getLogger(__name__)

#: Messages claimed at a time, and how many of these each thread marks as *sending* if the server is
#: fast. When a worker dies, at most this many messages of a thread become *unknown*.
CLAIM = 100
WINDOW = 10


@dataclass(frozen=True, slots=True)
class Window:
    """Messages that become *sending* together, and the token they are held by."""

    token: uuid.UUID
    rows: Sequence[OutboxMessage]


class ClaimBuffer:
    """Shared by the threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: deque[Window] = deque()
        #: Messages not begun, of each claim.
        self._open: Counter[uuid.UUID] = Counter()
        #: Claims to return to the outbox, as far as their messages are not begun.
        self._unreturned: set[uuid.UUID] = set()

    def next(self, size: int = WINDOW) -> Window | None:
        """The next window, of up to ``size`` messages; None: nothing is due.

        Raises:
            django.db.Error: the outbox can't be read.
        """
        # One claims for all; the others would find nothing, or less.
        with self._lock:
            if not self._windows:
                self._claim()
            if not self._windows:
                return None
            whole = self._windows.popleft()
            if rest := whole.rows[size:]:
                self._windows.appendleft(Window(whole.token, rest))
            return Window(whole.token, whole.rows[:size])

    def _claim(self) -> None:
        token = uuid.uuid4()
        # It may be done although the connection is lost over it.
        self._unreturned.add(token)
        rows = claims.claim(CLAIM, token)[1]
        self._unreturned.discard(token)
        if rows:
            self._windows.append(Window(token, rows))
            self._open[token] = len(rows)

    def begun(self, window: Window) -> None:
        """Nothing of the window is left to be given back."""
        with self._lock:
            self._open[window.token] -= len(window.rows)
            self._open += Counter()  # without those that are through

    def give_back(self) -> None:
        """Return all messages that are not begun. Windows already distributed will be empty."""
        with self._lock:
            self._windows.clear()
            self._unreturned.update(self._open)
            self._open.clear()
        self.return_claims()

    def return_claims(self) -> None:
        """Return claims, including those that a database error prevented before."""
        with self._lock:
            try:
                for token in tuple(self._unreturned):
                    claims.give_back(token)
                    self._unreturned.discard(token)
            except Error:
                logger.exception("Claimed messages could not be returned yet.")
                # The connection is unusable after the failed transaction.
                close_old_connections()
