"""Entries of the delivery log for tests, quickly written."""

import uuid
from datetime import timedelta

from django.core.mail import EmailMultiAlternatives
from django.utils import timezone

from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.delivery.log import stored_message as log_stored_message
from wagtail_smtp.delivery.log.cause import BY_STATE
from wagtail_smtp.delivery.log.entries import recipient
from wagtail_smtp.delivery.outgoing import prepare
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage
from wagtail_smtp.transports import standard


def make_entry(
    *addresses, state="failed", subject="Your invoice", ago=0, message=None, roles=None, **values
):
    """An entry ``ago`` days old; with ``message`` it is kept."""
    values = {"category": "invoice", "category_source": "context", "via": "Office"} | values
    if values["via"] not in ("", standard.NAME):
        values.setdefault("set_key", uuid.uuid5(uuid.NAMESPACE_DNS, values["via"]))
    values = {"cause": BY_STATE.get(state, "")} | values
    entry = LogEntry.objects.create(
        state=state,
        subject=subject,
        created_at=timezone.now() - timedelta(days=ago),
        sender="Shop <shop@example.com>",
        **values,
    )
    for address in addresses or ("real@example.org",):
        row = recipient(address, "sent" if state == "sent" else "not_sent", **(roles or {}))
        row.entry = entry
        row.save()
    if message is not None:
        log_stored_message.keep(entry, stored_message.freeze(prepare(message)).content)
    return LogEntry.objects.get(pk=entry.pk)


def make_message(html=None, files=(), to=("real@example.org",), **values):
    """A message with ``html`` and ``files``: name, content, type."""
    values = {"subject": "Your invoice", "body": "Plain <b>text</b>"} | values
    message = EmailMultiAlternatives(from_email="shop@example.com", to=list(to), **values)
    if html is not None:
        message.attach_alternative(html, "text/html")
    for name, content, kind in files:
        message.attach(name, content, kind)
    return message


def make_waiting(**values):
    """An entry that waits in the outbox."""
    entry = make_entry(state="queued", message=make_message(), **values)
    soon = timezone.now() + timedelta(hours=1)
    OutboxMessage.objects.create(
        entry=entry,
        category=entry.category,
        category_source=entry.category_source,
        due_at=soon,
        expires_at=soon,
    )
    return LogEntry.objects.get(pk=entry.pk)


def fill(count, *, domain="example.org", **values):
    """Many entries with a recipient each, a minute apart, the newest now."""
    now = timezone.now()
    defaults = {"state": "sent", "category": "form", "category_source": "default", "via": "Office"}
    rows = LogEntry.objects.bulk_create(
        LogEntry(
            subject=f"Message {number}",
            created_at=now - timedelta(minutes=count - number),
            **(defaults | values),
        )
        for number in range(count)
    )
    LogRecipient.objects.bulk_create(
        LogRecipient(entry=row, address=f"{row.pk}@{domain}", domain=domain, state="sent")
        for row in rows
    )
    return rows
