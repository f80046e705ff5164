"""What an administrator can do with a message that waits."""

from django.utils import timezone

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.live.db import clock, connections, retry
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import claims, tasks


@retry.in_transaction
def try_now(entry: LogEntry) -> bool:
    """Make a waiting message due; False if it isn't waiting any more."""
    waiting = claims.rows().filter(entry=entry, state=OutboxMessage.State.WAITING)
    is_waiting = bool(waiting.update(due_at=clock.now()))
    if is_waiting:
        tasks.run_after_commit()
    return is_waiting


@retry.in_transaction
def cancel(entry: LogEntry) -> bool:
    """Take a message out of the outbox; False if it is on its way or through already."""
    held = claims.rows().filter(entry=entry).exclude(state=OutboxMessage.State.SENDING)
    if not held.delete()[0]:
        return False
    recipients = entry.recipients.using(connections.write_alias())
    got = recipients.filter(state=RecipientState.SENT).exists()
    entry.state = State.PARTLY_SENT if got else State.CANCELLED
    entry.changed_at = timezone.now()
    entry.save(update_fields=["state", "changed_at"])
    recipients.filter(state=RecipientState.WAITING).update(
        state=RecipientState.NOT_SENT, changed_at=entry.changed_at
    )
    if entry.category == SECURITY or not conf.stores(entry.state):
        StoredMessage.objects.filter(entry=entry).delete()
    return True
