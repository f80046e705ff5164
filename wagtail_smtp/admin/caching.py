"""What costs queries, kept in Django's cache for a while; without a cache it is asked for anew."""

import logging

from django.core.cache import cache

from wagtail_smtp.runtime import error_logging

logger = logging.getLogger(__name__)

#: Stands for what isn't kept; None may be.
_NOTHING = object()


def cached(key, seconds, ask):
    """What ``ask()`` returned at most so many seconds ago, or returns now."""
    with error_logging.without_cache(logger):
        known = cache.get(key, _NOTHING)
        if known is not _NOTHING:
            return known
    new = ask()
    with error_logging.without_cache(logger):
        cache.set(key, new, seconds)
    return new
