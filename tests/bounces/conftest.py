"""Entries, and the signed bounce addresses of their messages."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from wagtail_smtp.config.bounce_address import signed
from wagtail_smtp.delivery.log.entries import recipient
from wagtail_smtp.models import LogEntry

SentTo = Callable[..., tuple[LogEntry, str]]


@pytest.fixture
def sent_to(db: None) -> SentTo:
    """An entry, and its bounce address: ``sent_to("someone@example.org", days_ago=3)``."""

    def make(*addresses: str, days_ago: float = 0, **values: Any) -> tuple[LogEntry, str]:
        at = timezone.now() - timedelta(days=days_ago)
        entry = LogEntry.objects.create(
            state="sent", subject="Hello", category="form", created_at=at, changed_at=at, **values
        )
        for address in addresses or ("someone@example.org",):
            row = recipient(address, "sent")
            row.entry = entry
            row.save()
        return entry, signed("bounces@example.com", "+", entry.key)

    return make
