"""Claim messages of the outbox as its worker does."""

import uuid

from wagtail_smtp.models import OutboxMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox.outcomes import write_and_claim


def claim(limit: int = 10) -> list[OutboxMessage]:
    """Claim up to ``limit`` due messages; they are *sending* then."""
    token = uuid.uuid4()
    write_and_claim(token, (), limit)
    return claims.claimed(token)
