"""Whether a server could be reached lately, so that not every message waits for a dead one."""

import threading
import time

from wagtail_smtp.conf import conf

#: Phases of a failure that say the server could not be reached or didn't let us in.
UNREACHABLE = frozenset({"connect", "banner", "ehlo", "starttls", "tls", "auth"})


class Availability:
    """What a process knows of one server: reachable, cooling down, or being tried again."""

    def __init__(self) -> None:
        self._is_failing = False
        self._next_try = 0.0
        self.after_fork()

    def after_fork(self) -> None:
        """In the child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def is_worth_trying(self) -> bool:
        """Whether a message should try the server in its place.

        After the cool-down that holds for one message, until it is known how that went.
        """
        if not self._is_failing:
            return True
        with self._lock:
            now = time.monotonic()
            if self._is_failing and now < self._next_try:
                return False
            # If whoever tries is never heard of again, the next one may after another while.
            self._next_try = now + conf.COOL_DOWN
            return True

    def failed(self) -> None:
        """The server could not be reached."""
        with self._lock:
            self._is_failing = True
            self._next_try = time.monotonic() + conf.COOL_DOWN

    def succeeded(self) -> bool:
        """The server was reached; whether that is news."""
        if not self._is_failing:
            return False
        with self._lock:
            was_failing, self._is_failing = self._is_failing, False
            return was_failing
