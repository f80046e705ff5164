"""Do something once or count it across all processes that share Django's cache.

Without a working cache, each process counts for itself, so that alerts are still sent and tests
still run. Some caches fail silently: pymemcache returns False, and the dummy cache stores nothing.
So a result only counts if the cache returns the stored value.
"""

import logging
import threading
import time
from contextlib import suppress

from django.core.cache import cache

from wagtail_smtp.runtime import error_logging, process

logger = logging.getLogger(__name__)

#: Maximum number of keys in memory.
_MAX_KEYS = 1000


class _Memory:
    """The process's own storage, used without a cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[object, float]] = {}

    def add(self, key: str, value: object, seconds: float) -> bool:
        with self._lock:
            if self._get(key) is not None:
                return False
            self._put(key, value, time.monotonic() + seconds)
            return True

    def count(self, key: str, seconds: float) -> int:
        with self._lock:
            known, until = self._get(key) or (0, time.monotonic() + seconds)
            number = int(str(known)) + 1
            self._put(key, number, until)
            return number

    def take(self, key: str, value: object | None = None) -> bool:
        with self._lock:
            known = self._get(key)
            if known is None or (value is not None and known[0] != value):
                return False
            del self._kept[key]
            return True

    def _get(self, key: str) -> tuple[object, float] | None:
        known = self._kept.get(key)
        return known if known is not None and time.monotonic() < known[1] else None

    def _put(self, key: str, value: object, until: float) -> None:
        self._kept.pop(key, None)
        while len(self._kept) >= _MAX_KEYS:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = value, until


_memory = _Memory()


def forget() -> None:
    """Clear this process's memory, after a fork and in tests."""
    _memory.__init__()  # type: ignore[misc]


process.after_in_child(forget)


def is_first(key: str, seconds: float, value: object = True) -> bool:
    """Return True for the first call with ``key`` in ``seconds``, False for later ones."""
    with error_logging.without_cache(logger):
        is_added = cache.add(key, value, timeout=seconds)
        if cache.get(key) is not None:
            return bool(is_added)
    return _memory.add(key, value, seconds)


def is_undone(key: str, value: object | None = None) -> bool:
    """Undo :func:`is_first`, if ``value`` matches; return whether there was something to undo."""
    is_there = _memory.take(key, value)
    with error_logging.without_cache(logger):
        if value is None or cache.get(key) == value:
            is_there = bool(cache.delete(key)) or is_there
    return is_there


def count(key: str, seconds: float) -> int:
    """Count this call; return the number of calls with ``key`` in the last ``seconds``."""
    # ValueError: the key has just expired, or the cache stores nothing.
    with error_logging.without_cache(logger), suppress(ValueError):
        cache.add(key, 0, timeout=seconds)
        number = cache.incr(key)
        if isinstance(number, int) and not isinstance(number, bool):
            return number
    return _memory.count(key, seconds)
