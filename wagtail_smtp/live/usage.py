"""Count what sets with limits send, for all processes of the site together.

Each set has one row, which is locked while it is changed. It is changed in an autonomous
transaction: a caller's rollback doesn't give back what was sent, and a caller's long transaction
keeps no one waiting. Times are those of the database's clock.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from django.db.models import QuerySet

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.config.limits import Ledger, Limits, Pause, Refusal
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import autonomous, deferred, expressions
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import SetUsage

#: Seconds after which nothing in a row counts any more: a day, and a part of it.
_KEPT = 2 * 86400

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reservation:
    """Recipients that count as used until :func:`end`.

    ``wait`` is how many seconds to wait before sending, so that the rate is kept. ``token`` is
    empty if they don't count before :func:`end`.
    """

    key: str
    token: str
    wait: float = 0


def reserve(
    key: str, limits: Limits, number: int, version: int | None, patience: float, *, takes_turn: bool
) -> Reservation | Refusal:
    """Reserve ``number`` recipients of the set ``key``.

    Args:
        version: the live version; None: even if its server has reported a quota.
        patience: how many seconds the message can wait for the rate, or the end of a pause.
        takes_turn: whether the message waits in the outbox if it is refused. The refusal then says
            when it is its turn.

    Raises:
        django.db.Error, TimeoutError, RuntimeError: it can't be counted.
    """
    token = uuid.uuid4().hex

    def change(ledger: Ledger, now: float) -> Reservation | Refusal:
        if token in ledger.going_on:
            return Reservation(key, token)  # the database didn't confirm the first time
        refusal = ledger.refusal(limits, number, now, version, patience)
        if refusal is None:
            return Reservation(key, token, ledger.begin(token, limits, number, now, version))
        if takes_turn and not refusal.is_too_many:
            seconds = ledger.take_turn(refusal, number, now)
            return replace(refusal, seconds=seconds)
        return refusal

    if autonomous.is_in_callers_transaction(write_alias()):
        # On SQLite, a write now would keep everyone else waiting until the message is sent.
        found, now = ledgers([key])
        refusal = found.get(key, Ledger()).refusal(limits, number, now, version, patience)
        return refusal or Reservation(key, "")
    return _change(key, change)


def allowed(item: SettingsSetConfig, category: str) -> Limits:
    """The limits of a set for email of ``category``.

    If the set sends ``security`` email, all other email leaves a reserve for it.
    """
    sends_security = item.applies_to_category(SECURITY) and SECURITY not in conf.STANDARD_CATEGORIES
    return item.limits.without_reserve() if sends_security and category != SECURITY else item.limits


def end(reservation: Reservation, accepted: int) -> None:
    """End the attempt: only ``accepted`` recipients count, or may.

    Raises:
        django.db.Error, TimeoutError, RuntimeError: all recipients of the reservation count.
    """
    key, token = reservation.key, reservation.token
    if token:
        _change(key, lambda ledger, now: ledger.end(token, accepted, now))
    elif accepted:
        _add(key, accepted)
        # The caller's rollback undoes this, but the email was sent.
        deferred.after_rollback(lambda: _add(key, accepted), write_alias())


def _add(key: str, accepted: int) -> None:
    _change(key, lambda ledger, now: ledger.add(accepted, now))


def pause(key: str, seconds: float, version: int, code: int, reply: str) -> None:
    """Let no process send through a set for a while, because its server reported a quota.

    Raises:
        django.db.Error, TimeoutError, RuntimeError: it can't be written.
    """

    def change(ledger: Ledger, now: float) -> None:
        ledger.pause = Pause(now + seconds, version, code, reply[:500])

    _change(key, change)


def ledgers(keys: Iterable[str]) -> tuple[dict[str, Ledger], float]:
    """What each of these sets has sent, by key, and the database's time. One query.

    A set that has sent nothing is missing.
    """
    rows = _rows().filter(set_key__in=list(keys))
    found, now = {}, 0.0
    for key, content, at in rows.values_list("set_key", "content", expressions.now()):
        found[str(key)], now = Ledger.of(content), expressions.epoch(at)
        found[str(key)].forget(now)
    return found, now


def prune() -> int:
    """Delete the rows in which nothing counts any more, and return their number."""
    deleted: int = (
        SetUsage.objects.using(write_alias())
        .filter(changed_at__lt=expressions.now(-_KEPT))
        .delete()[0]
    )
    return deleted


def _change(key: str, change: Callable[[Ledger, float], T]) -> T:
    """Change a set's ledger. ``change`` may be called more than once, with ledger and time."""
    rows = _rows().filter(set_key=key)

    def write() -> T:
        # Locks the row. First a write: on SQLite, a transaction that begins with a read can't wait.
        if not rows.update(changed_at=expressions.now()):
            row = SetUsage(set_key=key, environment=_environment(), changed_at=expressions.now())
            SetUsage.objects.using(rows.db).bulk_create([row], ignore_conflicts=True)
            rows.update(changed_at=expressions.now())
        # The time after the lock was granted: it never goes back from one change to the next.
        content, at = rows.values_list("content", expressions.now()).get()
        now = expressions.epoch(at)
        ledger = Ledger.of(content)
        ledger.forget(now)
        result = change(ledger, now)
        rows.update(content=ledger.to_json())
        return result

    return autonomous.write(write, rows.db)


def _rows() -> "QuerySet[SetUsage]":
    return SetUsage.objects.using(write_alias()).filter(environment=_environment())


def _environment() -> str:
    """A copied database has usage of its own. No name means production, as for versions."""
    return conf.environment() or environments.PRODUCTION
