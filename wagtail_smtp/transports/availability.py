"""Remember unreachable servers, so that not every message waits for a timeout."""

import threading
import time

from wagtail_smtp.conf import conf

#: Phases of a failure in which the server was unreachable or refused the session.
UNREACHABLE = frozenset({"connect", "banner", "ehlo", "starttls", "tls", "auth"})


class Availability:
    """Whether one server is reachable, cooling down or being tried again, in this process."""

    def __init__(self) -> None:
        self._is_failing = False
        self._next_try = 0.0
        self.after_fork()

    def after_fork(self) -> None:
        """Replace the lock in a forked child: a thread of the parent may hold it."""
        self._lock = threading.Lock()

    def is_worth_trying(self) -> bool:
        """Whether a message should try the server.

        After the cool-down, only one message does, until its outcome is known.
        """
        if not self._is_failing:
            return True
        with self._lock:
            now = time.monotonic()
            if self._is_failing and now < self._next_try:
                return False
            # If that attempt never reports back, another is allowed after a second cool-down.
            self._next_try = now + conf.COOL_DOWN
            return True

    def failed(self) -> None:
        """Start a cool-down: the server could not be reached."""
        with self._lock:
            self._is_failing = True
            self._next_try = time.monotonic() + conf.COOL_DOWN

    def succeeded(self) -> bool:
        """End the cool-down; return whether there was one."""
        if not self._is_failing:
            return False
        with self._lock:
            was_failing, self._is_failing = self._is_failing, False
            return was_failing
