"""The warning that the message store is full or nearly full."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from wagtail_smtp.admin.caching import cached
from wagtail_smtp.delivery.log import message_store

#: Percentage from which the next message may not fit.
_FULL_AT = 98
#: Seconds for which the result is cached: every page needs it.
_CACHED = 60
_KEY = "wagtail_smtp.banner.store"


@dataclass(frozen=True)
class Usage:
    """How full the store is."""

    percent: int

    @property
    def is_full(self):
        """Whether messages may already be rejected."""
        return self.percent >= _FULL_AT

    @property
    def text(self):
        """What is wrong, in the reader's language."""
        if self.is_full:
            return _(
                "The message store is full. Undelivered messages may not be kept, and email may "
                "not be queued."
            )
        return _("The message store is %d%% full.") % self.percent

    @property
    def advice(self):
        """What to do."""
        return _(
            "When it is full, undelivered messages are not kept and email can't be queued. Look "
            "for undelivered messages in the delivery log, or ask a developer to raise "
            "WAGTAIL_SMTP['MAX_STORED']."
        )


def warning():
    """Return the :class:`Usage` if it requires a warning, else None."""
    usage = Usage(cached(_KEY, _CACHED, message_store.percent_used))
    return usage if usage.percent >= message_store.WARN_AT else None
