"""Limit how often a user may test servers, so that tests can't be used to scan ports.

:mod:`wagtail_smtp.runtime.once` counts, also while the cache is down.
"""

import time
import uuid

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp.runtime import once

#: Seconds, and how many tests of servers a user may begin in them.
LIMITS = ((60, 10), (3600, 60))
#: The same for test emails that are sent with the live settings.
EMAIL_LIMITS = ((60, 5),)
#: Seconds for which a test counts as running if its process dies before the test ends.
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
        if not once.is_first(self._key, LONGEST, self._token):
            text = _("You are already running a test. Wait up to 20 seconds and try again.")
            raise NotNow(text, LONGEST)
        try:
            _count(self._key, LIMITS)
        except NotNow:
            self.end()
            raise

    def end(self):
        """End it. May be called twice."""
        # The token spares a test that began after this one had exceeded LONGEST.
        once.is_undone(self._key, self._token)


def count_email(user):
    """Count a test email of a user's.

    Raises:
        NotNow: there were too many.
    """
    _count(f"wagtail_smtp.test_email.{user.pk}", EMAIL_LIMITS)


def _count(key, limits):
    now = time.time()
    for seconds, limit in limits:
        if once.count(f"{key}.{seconds}.{int(now // seconds)}", seconds + 1) > limit:
            raise NotNow(*_too_many(limit, seconds - int(now % seconds)))


def _too_many(limit, seconds):
    if seconds < 90:
        text = ngettext(
            "You have run %(limit)d tests in a short time. Try again in %(n)d second.",
            "You have run %(limit)d tests in a short time. Try again in %(n)d seconds.",
            seconds,
        )
        return text % {"limit": limit, "n": seconds}, seconds
    minutes = seconds // 60 + 1
    text = ngettext(
        "You have run %(limit)d tests in a short time. Try again in %(n)d minute.",
        "You have run %(limit)d tests in a short time. Try again in %(n)d minutes.",
        minutes,
    )
    return text % {"limit": limit, "n": minutes}, seconds
