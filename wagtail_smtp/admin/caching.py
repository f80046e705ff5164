"""Cache query results for a while in Django's cache; if that fails, query every time."""

import logging

from django.core.cache import cache

from wagtail_smtp.runtime import error_logging

logger = logging.getLogger(__name__)

#: Marks a missing key, because None can be cached.
_NOTHING = object()


def cached(key, seconds, query):
    """Return what ``query()`` returned at most ``seconds`` ago, or call it now."""
    with error_logging.without_cache(logger):
        known = cache.get(key, _NOTHING)
        if known is not _NOTHING:
            return known
    new = query()
    with error_logging.without_cache(logger):
        cache.set(key, new, seconds)
    return new
