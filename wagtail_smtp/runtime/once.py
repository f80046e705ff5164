"""Do something once or count it across all processes that share Django's cache.

Without a working cache, each process counts for itself, so that alerts are still sent and tests
still run. Some caches fail silently: pymemcache returns False, and the dummy cache stores nothing.
So a result only counts if the cache returns the stored value.
"""

import logging
import uuid
from contextlib import suppress

from django.core.cache import BaseCache, cache
from django.core.cache.backends.locmem import LocMemCache

from wagtail_smtp.runtime import error_logging, process

logger = logging.getLogger(__name__)

#: Maximum number of keys in memory.
_MAX_KEYS = 1000


def _new_memory() -> LocMemCache:
    # Caches with one name share their entries and a lock, which a thread of the parent may hold.
    return LocMemCache(f"wagtail_smtp.{uuid.uuid4()}", {"max_entries": _MAX_KEYS})


#: The process's own storage, used without a cache.
_memory = _new_memory()


def forget() -> None:
    """Clear this process's memory, after a fork and in tests."""
    global _memory
    _memory = _new_memory()


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
    was_in_memory = _remove(_memory, key, value)
    with error_logging.without_cache(logger):
        return _remove(cache, key, value) or was_in_memory
    return was_in_memory


def _remove(store: BaseCache, key: str, value: object | None) -> bool:
    return (value is None or store.get(key) == value) and bool(store.delete(key))


def count(key: str, seconds: float) -> int:
    """Count this call; return the number of calls with ``key`` in the last ``seconds``."""
    # ValueError: the key has just expired, or the cache stores nothing.
    with error_logging.without_cache(logger), suppress(ValueError):
        cache.add(key, 0, timeout=seconds)
        number = cache.incr(key)
        if isinstance(number, int) and not isinstance(number, bool):
            return number
    _memory.add(key, 0, seconds)
    try:
        return int(_memory.incr(key))
    except ValueError:  # it has just expired
        return 1
