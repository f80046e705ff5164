"""How often one user may let the site connect to a server: a test is no port scanner.

Django's cache keeps count: with a cache that all processes share, that holds for the whole site,
otherwise for each process.
"""

import logging
import time
import uuid
from contextlib import suppress

from django.core.cache import cache
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp import reports

logger = logging.getLogger(__name__)

#: Seconds, and how many tests of servers a user may begin in them.
LIMITS = ((60, 10), (3600, 60))
#: The same of test emails that leave as all mail does.
EMAIL_LIMITS = ((60, 5),)
#: Seconds for which a test counts as running, if its process dies before it says that it ended.
LONGEST = 30


class NotNow(Exception):
    """The user has to wait.

    Attributes:
        seconds: how long.
    """

    def __init__(self, message, seconds):
        super().__init__(message)
        self.seconds = seconds


class Running:
    """One test of a user; ``end()`` it, or the next one has to wait."""

    def __init__(self, user):
        self._key = f"wagtail_smtp.test.{user.pk}"
        self._token = uuid.uuid4().hex

    def begin(self):
        """Begin it.

        Raises:
            NotNow: another one is running, or there were too many.
        """
        is_only_one = True
        with reports.without_cache(logger):
            is_only_one = cache.add(self._key, self._token, timeout=LONGEST)
        if not is_only_one:
            text = _("Another test of yours is still running. It ends within 20 seconds.")
            raise NotNow(text, LONGEST)
        try:
            _count(self._key, LIMITS)
        except NotNow:
            self.end()
            raise

    def end(self):
        """End it; ending it twice does no harm."""
        with reports.without_cache(logger):
            # Not the one that began after this one had taken too long.
            if cache.get(self._key) == self._token:
                cache.delete(self._key)


def count_email(user):
    """Count a test email of a user's.

    Raises:
        NotNow: there were too many.
    """
    _count(f"wagtail_smtp.test_email.{user.pk}", EMAIL_LIMITS)


def _count(key, limits):
    now = time.time()
    for seconds, limit in limits:
        if _number(f"{key}.{seconds}.{int(now // seconds)}", seconds) > limit:
            raise NotNow(*_too_many(limit, seconds - int(now % seconds)))


def _number(key, seconds):
    """How often it was counted, with this time; 0: the cache doesn't know."""
    # A cache that is down must not stop somebody who wants to know why mail fails.
    with reports.without_cache(logger), suppress(ValueError):
        cache.add(key, 0, timeout=seconds + 1)
        # ValueError: it has just expired, or this cache keeps nothing.
        return cache.incr(key)
    return 0


def _too_many(limit, seconds):
    if seconds < 90:
        text = ngettext(
            "You have tested %(limit)d times in a short time. Try again in %(n)d second.",
            "You have tested %(limit)d times in a short time. Try again in %(n)d seconds.",
            seconds,
        )
        return text % {"limit": limit, "n": seconds}, seconds
    minutes = seconds // 60 + 1
    text = ngettext(
        "You have tested %(limit)d times in a short time. Try again in %(n)d minute.",
        "You have tested %(limit)d times in a short time. Try again in %(n)d minutes.",
        minutes,
    )
    return text % {"limit": limit, "n": minutes}, seconds
