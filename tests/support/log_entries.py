"""Entries of the delivery log for tests, quickly written."""

import uuid
from datetime import timedelta

from django.core.mail import EmailMultiAlternatives
from django.db import connection
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


def make_waiting(environment="", **values):
    """An entry that waits in the outbox, where it was put in an environment."""
    entry = make_entry(state="queued", message=make_message(), **values)
    soon = timezone.now() + timedelta(hours=1)
    OutboxMessage.objects.create(
        entry=entry,
        category=entry.category,
        category_source=entry.category_source,
        due_at=soon,
        expires_at=soon,
        environment=environment,
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


def write_quickly(rows):
    """Write very many entries; ``bulk_create()`` takes several times as long."""
    fields = LogEntry._meta.concrete_fields
    names = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    insert = f"INSERT INTO {LogEntry._meta.db_table} ({names}) VALUES ({places})"
    known = {}

    def prepared(field, row):
        value = getattr(row, field.attname)
        key = (field.attname, value)
        if key not in known:
            known[key] = field.get_db_prep_save(value, connection)
        return known[key]

    with connection.cursor() as cursor:
        cursor.executemany(insert, [[prepared(field, row) for field in fields] for row in rows])


def fill_outbox(count, environment="production"):
    """Many messages in the outbox, where they were put in an environment; without their text."""
    entries = fill(count, state="queued", via="")
    LogRecipient.objects.filter(entry__in=entries).update(state="waiting")
    OutboxMessage.objects.bulk_create(
        OutboxMessage(
            entry=entry,
            category=entry.category,
            category_source=entry.category_source,
            expires_at=timezone.now() + timedelta(days=1),
            environment=environment,
        )
        for entry in entries
    )
    return entries
