"""Sending again once for each time that somebody was asked.

A confirmation has seen the newest resend in Wagtail's audit log, and says so when it is posted.
Who clicks twice, reloads, or was asked while somebody else was, is behind by then, and nothing is
sent. The audit entry is the claim: it is committed before the message leaves.
"""

from django.db import router
from django.db.models import F, Max
from django.utils.translation import gettext as _
from wagtail.log_actions import registry

from wagtail_smtp.live import database, side
from wagtail_smtp.models import LogEntry

#: Name of the field in which a confirmation says what it has seen.
FIELD = "seen"
_ACTION = "wagtail_smtp.resend"


def newest_resend(entries):
    """The number of the newest resend of any of ``entries`` in the audit log; 0: there is none."""
    return max(map(_newest, entries), default=0)


def seen(posted):
    """What the posted confirmation had seen; 0 if it doesn't say."""
    text = posted.get(FIELD, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def claim(entry, user, newest):
    """Write into the audit log that ``user`` sends ``entry`` again.

    It stays there whatever becomes of the request's transaction, as the message can't be taken
    back either.

    Returns:
        False if that was done since ``newest``; nothing may be sent then.
    """
    alias = database.write_alias()
    title = _("Log entry %d") % entry.pk  # in the language of this thread

    def write():
        # Locks the entry: whoever comes second waits here. SQLite wants a transaction that
        # writes to begin with that.
        LogEntry.objects.using(alias).filter(pk=entry.pk).update(changed_at=F("changed_at"))
        if _newest(entry) > newest:
            return False
        registry.log(entry, _ACTION, user=user, title=title)
        return True

    return side.write(write, alias)


def _newest(entry):
    rows = registry.get_logs_for_instance(entry).filter(action=_ACTION).order_by()
    return rows.using(router.db_for_write(rows.model)).aggregate(last=Max("pk"))["last"] or 0
