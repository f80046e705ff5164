"""The delivery log: an entry per message, with recipients, attempts and the stored message.

The database enforces no foreign keys to tables outside the log. An entry is written on a separate
connection, so a caller with a lock on the referenced row would wait for itself.
"""

import uuid
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.models.choices import PENDING, RecipientState, Reported, State

#: The carrier of messages that standard delivery sent, next to the keys of sets.
STANDARD = "standard"

#: Characters of a subject, name or reply that the log keeps.
SHOWN = 255
#: Concurrent transactions may number their entries in a different order than their times.
_SLACK = 1000
#: Entries at each end of a period of which some were written late.
_LATE = 100


def numbers_between(
    rows: "models.QuerySet[Any]", start: datetime | None, stop: datetime | None
) -> tuple[int, int] | None:
    """Return the lowest and highest number that rows of a period can have, in an append-only table.

    None: there is no row since ``start`` or until ``stop``. Without one of them, the limit is that
    of all rows.
    """
    by_time = rows.order_by("created_at").values_list("pk", flat=True)
    first = by_time.filter(created_at__gte=start) if start else by_time
    last = by_time.filter(created_at__lte=stop) if stop else by_time
    lowest, highest = list(first[:_LATE]), list(last.reverse()[:_LATE])
    if not lowest or not highest:
        return None
    return min(lowest) - _SLACK, max(highest) + _SLACK


class LogEntryQuerySet(models.QuerySet["LogEntry"]):
    """Filters for log entries."""

    def _sent_later(self) -> models.Exists:
        first = Coalesce(models.OuterRef("resend_of_id"), models.OuterRef("pk"))
        copies = LogEntry.objects.using(self.db).filter(resend_of_id=first, state=State.SENT)
        return models.Exists(copies.filter(pk__gt=models.OuterRef("pk")).order_by())

    def unresolved(self) -> "LogEntryQuerySet":
        """Without those whose message was resent successfully."""
        return self.exclude(self._sent_later())

    def resolved(self) -> "LogEntryQuerySet":
        """Only those whose message was resent successfully."""
        return self.filter(self._sent_later())

    def through(self, carrier: str) -> "LogEntryQuerySet":
        """Only those with this carrier: a set's key or :data:`STANDARD`.

        Names don't identify a carrier: sets can be renamed, even to *standard delivery*.
        """
        if carrier == STANDARD:
            return self.filter(set_key=None).exclude(via="")
        return self.filter(set_key=carrier)

    def since(self, moment: datetime) -> "LogEntryQuerySet":
        """Only those since ``moment``.

        The lower bound of the number lets a database stop early in indexes that are ordered by
        number, such as that on the state.
        """
        numbers = LogEntry.objects.using(self.db).numbers_between(moment, None)
        if numbers is None:
            return self.none()
        return self.filter(pk__gte=numbers[0], created_at__gte=moment)

    def numbers_between(
        self, start: datetime | None, stop: datetime | None
    ) -> tuple[int, int] | None:
        """Return the lowest and highest number that entries of a period can have."""
        return numbers_between(self, start, stop)


class LogEntry(models.Model):
    """One message: its contents, route and outcome."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    #: When the state last changed.
    changed_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(_("state"), max_length=16, choices=State.choices)
    category = models.CharField(_("category"), max_length=50)
    category_source = models.CharField(max_length=20)
    #: The site's primary key, and its address as it was then. None: the message has no site, or
    #: it was not looked up because no set uses sites.
    site_key = models.IntegerField(null=True)
    site = models.CharField(_("site"), max_length=SHOWN, blank=True, default="")
    #: How the site was found; without a site: it can't be looked up.
    site_source = models.CharField(max_length=20, blank=True, default="")
    #: The carrier of the last attempt as shown: the set's name at that time, or standard
    #: delivery's. Empty: there was no attempt.
    via = models.CharField(_("sent through"), max_length=100, blank=True)
    #: None: standard delivery, or no attempt.
    set_key = models.UUIDField(null=True)
    version = models.PositiveIntegerField(default=0)
    sender = models.CharField(_("sender"), max_length=SHOWN, blank=True)
    subject = models.CharField(_("subject"), max_length=SHOWN, blank=True)
    #: Bytes of the whole message as sent; 0: it was never rendered.
    size = models.PositiveBigIntegerField(_("size"), default=0)
    message_id = models.CharField(max_length=SHOWN, blank=True)
    #: What redirected it: a set's name or the settings; empty: not redirected.
    redirected_by = models.CharField(_("redirected by"), max_length=100, blank=True)
    #: Why it is in its state: the server's response or our own text.
    reason = models.CharField(_("reason"), max_length=SHOWN * 2, blank=True)
    #: The slug of a cause in :mod:`wagtail_smtp.causes`; empty: unknown, or the message was sent.
    cause = models.CharField(max_length=50, blank=True, default="", editable=False)
    #: The event of the highest rank of any recipient (:data:`wagtail_smtp.models.choices.RANKS`).
    reported = models.CharField(
        _("reported"),
        max_length=16,
        choices=Reported.choices,
        blank=True,
        default="",
        editable=False,
    )
    #: The original message, also for a copy of a copy. It may be pruned before its copies; they
    #: keep its primary key, which still links them.
    resend_of = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        related_name="resent_as",
    )
    #: When a resend began whose outcome isn't logged yet; set on the original and every copy.
    #: It remains set if the process died meanwhile, because the message may have been sent.
    resend_began = models.DateTimeField(null=True, editable=False)

    objects = LogEntryQuerySet.as_manager()

    #: Whether the message was stored with the entry; None if the entry was read from the database.
    is_stored: bool | None = None

    class Meta:
        verbose_name = _("email delivery log entry")
        verbose_name_plural = _("email delivery log")
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [
            ("view_message_content", _("Can view the content of emails")),
            ("resend_message", _("Can resend emails")),
            ("export_log", _("Can export the email delivery log")),
        ]
        indexes = [
            # Newest first within a filter, without sorting.
            models.Index(fields=["state", "-id"], name="wagtail_smtp_log_state"),
            models.Index(fields=["category", "-id"], name="wagtail_smtp_log_category"),
            models.Index(fields=["set_key", "-id"], name="wagtail_smtp_log_set"),
            models.Index(fields=["reported", "-id"], name="wagtail_smtp_log_reported"),
            models.Index(fields=["site_key", "-id"], name="wagtail_smtp_log_site"),
        ]

    def __str__(self) -> str:
        return self.subject.strip() or str(_("(no subject)"))

    @property
    def carrier(self) -> str:
        """The carrier of the last attempt: a set's key, :data:`STANDARD`, or empty if none."""
        if self.set_key:
            return str(self.set_key)
        return STANDARD if self.via else ""

    @property
    def is_final(self) -> bool:
        """Whether the message is no longer processed automatically."""
        return self.state not in PENDING


class LogRecipient(models.Model):
    """One recipient of a message, with its state."""

    class Role(models.TextChoices):
        ENVELOPE = "envelope", _("Recipient")
        TO = "to", _("Original To")
        CC = "cc", _("Original Cc")
        BCC = "bcc", _("Original Bcc")

    entry = models.ForeignKey(
        LogEntry,
        on_delete=models.CASCADE,
        db_index=False,  # an index in Meta begins with it
        related_name="recipients",
    )
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.ENVELOPE)
    #: In lower case, so that searches can use the index.
    address = models.CharField(max_length=SHOWN)
    domain = models.CharField(max_length=SHOWN)
    state = models.CharField(max_length=16, choices=RecipientState.choices)
    code = models.PositiveSmallIntegerField(default=0)
    reply = models.CharField(max_length=SHOWN * 2, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)
    #: The email provider's message id for this recipient.
    provider_id = models.CharField(
        max_length=255, blank=True, default="", db_index=True, editable=False
    )
    #: The tracking event that counts, its time and its reason.
    reported = models.CharField(
        max_length=16, choices=Reported.choices, blank=True, default="", editable=False
    )
    reported_at = models.DateTimeField(null=True, editable=False)
    reported_reason = models.CharField(max_length=SHOWN * 2, blank=True, default="", editable=False)

    class Meta:
        default_permissions = ()
        ordering = ["id"]
        indexes = [
            # Find the newest entries of an address or domain without sorting.
            # PostgreSQL's operator classes let it find the start of an address or domain as well.
            models.Index(
                fields=["address", "entry"],
                name="wagtail_smtp_log_address",
                opclasses=["varchar_pattern_ops", "int8_ops"],
            ),
            models.Index(
                fields=["domain", "entry"],
                name="wagtail_smtp_log_domain",
                opclasses=["varchar_pattern_ops", "int8_ops"],
            ),
            # Search the addresses of many entries without reading the rows.
            models.Index(fields=["entry", "address"], name="wagtail_smtp_log_entry"),
        ]

    def __str__(self) -> str:
        return self.address


class LogAttempt(models.Model):
    """One attempt to send a message with one transport."""

    entry = models.ForeignKey(LogEntry, on_delete=models.CASCADE, related_name="attempts")
    via = models.CharField(max_length=100)
    #: None: standard delivery.
    set_key = models.UUIDField(null=True)
    began_at = models.DateTimeField()
    seconds = models.FloatField()
    state = models.CharField(max_length=16, choices=State.choices)
    phase = models.CharField(max_length=20, blank=True)
    code = models.PositiveSmallIntegerField(default=0)
    reply = models.CharField(max_length=SHOWN * 2, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.via}: {self.get_state_display()}"


class StoredMessage(models.Model):
    """A whole message, compressed and encrypted; of a large one, the first piece.

    Written by :mod:`wagtail_smtp.delivery.log.stored_message`.
    """

    entry = models.OneToOneField(LogEntry, on_delete=models.CASCADE, related_name="stored")
    content = models.BinaryField()
    #: Bytes of all pieces; indexed, so that the total can be read from the index.
    size = models.PositiveBigIntegerField(db_index=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Message of entry {self.entry_id}"


class StoredPiece(models.Model):
    """Another piece of a large stored message: no statement has to contain a message as a whole."""

    entry = models.ForeignKey(
        LogEntry, on_delete=models.CASCADE, related_name="stored_pieces", db_index=False
    )
    #: 1 is the piece after the one in :class:`StoredMessage`.
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["entry", "number"], name="wagtail_smtp_stored_piece")
        ]

    def __str__(self) -> str:
        return f"Piece {self.number} of the message of entry {self.entry_id}"


class DeliveryEvent(models.Model):
    """A tracking event from an email provider; without an entry, it waits for one.

    The database doesn't enforce its foreign keys: an event may arrive while its entry is pruned.
    """

    entry = models.ForeignKey(
        LogEntry,
        null=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,  # the index in Meta begins with it
        related_name="events",
    )
    #: None: the provider names no recipient, or it isn't in the log.
    recipient = models.ForeignKey(
        LogRecipient,
        null=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="events",
    )
    set_key = models.UUIDField()
    #: Identifies the event, so that it is stored only once.
    digest = models.CharField(max_length=64, unique=True)
    event_id = models.CharField(max_length=SHOWN, blank=True)
    #: The provider's message id, without angle brackets.
    message_id = models.CharField(max_length=SHOWN, blank=True)
    #: The entry's key, if the provider returns the metadata that was sent.
    entry_key = models.UUIDField(null=True)
    address = models.CharField(max_length=SHOWN, blank=True)
    type = models.CharField(max_length=16, choices=Reported.choices)
    happened_at = models.DateTimeField()
    #: The response of the recipient's server, or the provider's description.
    reason = models.CharField(max_length=SHOWN * 2, blank=True)
    #: Why the event suppresses its address, a
    #: :class:`~wagtail_smtp.models.suppression.SuppressionReason`; empty: it doesn't.
    suppresses = models.CharField(max_length=16, blank=True, default="", editable=False)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        default_permissions = ()
        ordering = ["happened_at", "id"]
        indexes = [
            # For the events of an entry, and for waiting events by set and message.
            models.Index(fields=["entry", "set_key", "message_id"], name="wagtail_smtp_event_entry")
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.get_type_display()}"
