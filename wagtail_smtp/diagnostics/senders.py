"""Find backups that send from another domain than the set they replace."""

from django.utils.translation import gettext_lazy

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_address, effective_sender
from wagtail_smtp.config.values import Configuration, Problem, SettingsSetConfig
from wagtail_smtp.live.diff import every_category


def sender_hints(configuration: Configuration) -> tuple[Problem, ...]:
    """Hints about the senders of backups, each with its set and field.

    They don't prevent a reload, because both domains may be set up correctly.
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
    """The domain a set sends from; empty if the message decides it."""
    try:
        return ascii_address(effective_sender(item)).rpartition("@")[2].lower()
    except ValueError:
        return ""


def _is_foreign(one: str, other: str) -> bool:
    # DMARC (RFC 7489 3.1.1) compares organisational domains. Without a list of public suffixes,
    # treat domains as related if they are equal or one is a subdomain of the other.
    if not one or not other or one == other:
        return False
    return not (one.endswith(f".{other}") or other.endswith(f".{one}"))


def _hint(first: SettingsSetConfig, backup: SettingsSetConfig) -> Problem:
    text = gettext_lazy(
        "This backup sends from %(domain)s, but the set it replaces, “%(first)s”, sends from "
        "%(first_domain)s. Recipients then see a different sender. Email may be treated as spam "
        "unless SPF, DKIM and DMARC for %(domain)s allow this server. If this server may send for "
        "%(first_domain)s, enter a sender address from that domain."
    ) % {"domain": _domain(backup), "first": first.name, "first_domain": _domain(first)}
    return Problem(text, "sender_address", backup.name)
