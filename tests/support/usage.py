"""Move what sets have sent into the past, instead of waiting."""

from wagtail_smtp.config.limits import PERIODS, Ledger
from wagtail_smtp.models import SetUsage


def age(seconds: float) -> None:
    """Make everything that counts ``seconds`` older: a multiple of 1440, a part of a day."""
    for row in SetUsage.objects.all():
        ledger = Ledger.of(row.content)
        for period, length in PERIODS.items():
            parts = ledger.sent[period]
            moved = int(seconds * 60 // length)
            ledger.sent[period] = {part - moved: number for part, number in parts.items()}
        ledger.next_at -= seconds
        ledger.turns_until -= seconds
        if ledger.pause is not None:
            until, *others = ledger.to_json()["pause"]
            ledger = Ledger.of(ledger.to_json() | {"pause": [until - seconds, *others]})
        row.content = ledger.to_json()
        row.save()
