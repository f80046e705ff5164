"""The warning that the store of whole messages is full, or nearly."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from wagtail_smtp.admin.caching import cached
from wagtail_smtp.delivery.log import message_store

#: Percent from which on the next message may find no room.
_FULL_AT = 98
#: Seconds for which the answer is kept: it is asked for on every page.
_HOLDS = 60
_KEY = "wagtail_smtp.banner.store"


@dataclass(frozen=True)
class Usage:
    """How full the store is."""

    percent: int

    @property
    def is_full(self):
        """Whether messages may be turned away already."""
        return self.percent >= _FULL_AT

    @property
    def text(self):
        """What is wrong, in the reader's language."""
        if self.is_full:
            return _(
                "The message store is full: undelivered messages may not be kept, and email may "
                "not be queued."
            )
        return _("The message store is %d%% full.") % self.percent

    @property
    def advice(self):
        """What to do."""
        return _(
            "Once it is full, undelivered messages are not kept and email can't be queued. Look in "
            "the delivery log for what is kept and why, or ask a developer to raise "
            "WAGTAIL_SMTP['MAX_STORED']."
        )


def warning():
    """The :class:`Usage` if it is worth a warning, else None."""
    usage = Usage(cached(_KEY, _HOLDS, message_store.percent_used))
    return usage if usage.percent >= message_store.WARN_AT else None
