"""How many connection checks and test emails a user may start."""

import time
import uuid

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp.runtime import once

#: Pairs of seconds, and how many checks a user may start in them.
LIMITS = ((60, 10), (3600, 60))
#: The same for test emails that are sent with the live settings.
EMAIL_LIMITS = ((60, 5),)
#: Seconds after which a check no longer counts as running, in case its process died.
LONGEST = 30


class LimitReached(Exception):
    """The user has to wait.

    Attributes:
        seconds: how long.
    """

    def __init__(self, message, seconds):
        super().__init__(message)
        self.seconds = seconds


class RunningCheck:
    """The one check that a user may run at a time."""

    def __init__(self, user):
        self._key = f"wagtail_smtp.test.{user.pk}"
        self._token = uuid.uuid4().hex

    def begin(self):
        """Begin the check; call :meth:`end` when it is done.

        Raises:
            LimitReached: another check is running, or the user has started too many.
        """
        if not once.is_first(self._key, LONGEST, self._token):
            text = _("You are already running a test. Wait up to 20 seconds and try again.")
            raise LimitReached(text, LONGEST)
        try:
            _count(self._key, LIMITS)
        except LimitReached:
            self.end()
            raise

    def end(self):
        """End the check. This may be called twice."""
        # The token spares a check that began after this one had exceeded LONGEST.
        once.is_undone(self._key, self._token)


def count_email(user):
    """Count a test email of a user.

    Raises:
        LimitReached: the user has sent too many.
    """
    _count(f"wagtail_smtp.test_email.{user.pk}", EMAIL_LIMITS)


def _count(key, limits):
    now = time.time()
    for period, limit in limits:
        if once.count(f"{key}.{period}.{int(now // period)}", period + 1) > limit:
            seconds = period - int(now % period)
            raise LimitReached(_too_many(limit, seconds), seconds)


def _too_many(limit, seconds):
    if seconds < 90:
        number = seconds
        text = ngettext(
            "You have run %(limit)d tests in a short time. Try again in %(n)d second.",
            "You have run %(limit)d tests in a short time. Try again in %(n)d seconds.",
            number,
        )
    else:
        number = seconds // 60 + 1
        text = ngettext(
            "You have run %(limit)d tests in a short time. Try again in %(n)d minute.",
            "You have run %(limit)d tests in a short time. Try again in %(n)d minutes.",
            number,
        )
    return text % {"limit": limit, "n": number}
