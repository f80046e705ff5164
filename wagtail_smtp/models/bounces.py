"""Where bounces are read, how far, and what became of them."""

import uuid
from collections.abc import Mapping

from django.db import models
from django.db.models import F
from django.db.models.expressions import CombinedExpression
from django.utils import timezone

from wagtail_smtp.models.configuration import OnPrimary

#: The key of what is read from standard input, in place of a set's.
STANDARD_INPUT = uuid.UUID(int=0)
#: What can become of a message: the names of the counters.
OUTCOMES = ("recorded", "ignored", "unverified", "unmatched", "unreadable")


class BounceSource(models.Model):
    """The mailbox of a settings set, or standard input, with the number of messages by outcome."""

    set_key = models.UUIDField(unique=True, editable=False)
    #: Identifies the mailbox and its numbering of messages, and the last number that was read.
    mailbox = models.CharField(max_length=64, blank=True, default="", editable=False)
    last_number = models.PositiveBigIntegerField(default=0, editable=False)
    #: How often reading failed at the message after that.
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    read_at = models.DateTimeField(null=True, editable=False)
    #: Since when the mailbox can't be read, and why.
    failing_since = models.DateTimeField(null=True, editable=False)
    failure = models.CharField(max_length=510, blank=True, default="", editable=False)
    recorded = models.PositiveBigIntegerField(default=0, editable=False)
    ignored = models.PositiveBigIntegerField(default=0, editable=False)
    unverified = models.PositiveBigIntegerField(default=0, editable=False)
    unmatched = models.PositiveBigIntegerField(default=0, editable=False)
    unreadable = models.PositiveBigIntegerField(default=0, editable=False)

    objects = OnPrimary()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.set_key)

    @classmethod
    def of(cls, key: uuid.UUID) -> "BounceSource":
        """The row of a source, which is created if there is none."""
        return cls.objects.get_or_create(set_key=key)[0]

    @staticmethod
    def counted(numbers: Mapping[str, int]) -> dict[str, CombinedExpression]:
        """The values of an update that adds these numbers of messages, by outcome."""
        return {str(name): F(name) + number for name, number in numbers.items()}

    def add(self, numbers: Mapping[str, int]) -> None:
        """Count messages that have just been read."""
        rows = BounceSource.objects.filter(pk=self.pk)
        rows.update(read_at=timezone.now(), **self.counted(numbers))
