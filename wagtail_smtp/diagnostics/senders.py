"""Backups that send from another domain than what they stand in for."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_address, effective_sender
from wagtail_smtp.config.values import Configuration, Problem, SettingsSetConfig
from wagtail_smtp.live.diff import every_category


def sender_hints(configuration: Configuration) -> tuple[Problem, ...]:
    """What to know about the senders of backups, each with its set and field.

    None of it stops a reload: both domains may be set up well.
    """
    found: dict[str, Problem] = {}
    for category in every_category(configuration):
        if category in conf.STANDARD_CATEGORIES:
            continue
        first, *backups = configuration.carriers(category) or (None,)
        for backup in backups:
            if first is not None and _is_foreign(_domain(first), _domain(backup)):
                found.setdefault(backup.key, _hint(first, backup))
    return tuple(found[item.key] for item in configuration.sets if item.key in found)


def _domain(item: SettingsSetConfig) -> str:
    """The domain a set sends from; empty where that is up to the message."""
    try:
        return ascii_address(effective_sender(item)).rpartition("@")[2].lower()
    except ValueError:
        return ""


def _is_foreign(one: str, other: str) -> bool:
    # DMARC (RFC 7489 3.1.1) compares organisational domains; without a list of public suffixes
    # that is: equal, or one below the other.
    if not one or not other or one == other:
        return False
    return not (one.endswith(f".{other}") or other.endswith(f".{one}"))


def _hint(first: SettingsSetConfig, backup: SettingsSetConfig) -> Problem:
    text = _(
        "This backup sends from %(domain)s, but “%(first)s”, which it stands in for, from "
        "%(first_domain)s. Recipients then see another sender, and mail may count as spam unless "
        "SPF, DKIM and DMARC of %(domain)s allow this server. Where this server may send for "
        "%(first_domain)s, enter a sender address there."
    ) % {"domain": _domain(backup), "first": first.name, "first_domain": _domain(first)}
    return Problem(text, "sender_address", backup.name)
