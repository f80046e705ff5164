"""What the live sets need and expires soon: certificates, consents and client secrets."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.utils import timezone

from wagtail_smtp import live
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live.db import retry
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.token_store import DatabaseTokenStore
from wagtail_smtp.models import ServerCertificate
from wagtail_smtp.runtime.project import as_kept, from_seconds, midnight
from wagtail_smtp.transports import standard, tls

#: Days before the end of a consent or client secret on which it is reported.
DAYS = (1, 7, 30)
#: The same for a certificate, which is usually renewed automatically in its last month.
CERTIFICATE_DAYS = (1, 7)
#: What is valid for this many days or less is renewed all the time.
_SHORT = 14
#: A warning comes in the last sixth of the validity at the earliest. Let's Encrypt's certificates
#: are valid for 90 days, and renewed 30 days before they expire.
_LAST_PART = 6
#: A certificate is only reported if a connection showed it in this time.
_RECENT = timedelta(days=2)
#: How old the stored time of the last connection may become.
_STORE_EVERY = timedelta(days=1)
#: Certificates may be valid from the first year on or until the last, which not every database and
#: time zone has.
_FIRST, _LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Expiry:
    """Something that a live set needs and that expires soon.

    Attributes:
        name, key: of the set.
        at: when it expires.
        days: it expires within this many days, one of the limits above.
        server: the certificate's server, as ``host:port``.
    """

    kind: Literal["certificate", "consent", "secret"]
    name: str
    key: str
    at: datetime
    days: int
    server: str = ""


def expiring() -> tuple[Expiry, ...]:
    """What the live sets need and expires soon, the first first.

    Nothing, if the live version comes from another environment.
    """
    current = live.current()
    if current.held_from or current.configuration.method == "standard":
        return ()
    sets = current.configuration.sets
    found = [*_certificates(current.configuration), *_consents(sets), *_client_secrets(sets)]
    return tuple(sorted(found, key=lambda each: each.at))


def reached(at: datetime, days: tuple[int, ...], starts_at: datetime | None = None) -> int | None:
    """Return the smallest of ``days`` in which ``at`` comes; None if it is too early to warn.

    None as well if it has passed: email fails then, which is reported.

    Args:
        starts_at: the beginning of the validity. What is valid for a short time is expected to be
            renewed later.
    """
    left = at - timezone.now()
    if left <= timedelta():
        return None
    if starts_at is not None:
        validity = at - starts_at
        if validity <= timedelta(days=_SHORT):
            return None
        days = tuple(each for each in days if timedelta(days=each) * _LAST_PART <= validity)
    return next((each for each in sorted(days) if left <= timedelta(days=each)), None)


def store_certificates() -> None:
    """Store what this process saw of the live servers' certificates, at most once a day each."""
    seen = tls.remembered()
    if not seen:
        return
    names = _servers(live.current().configuration)
    found = {_name(*server): validity for server, validity in seen.items()}
    wanted = {server: found[server] for server in names if server in found}
    rows = ServerCertificate.objects.using(write_alias())
    stored = {row.server: row for row in rows.filter(server__in=wanted)}
    for server, validity in wanted.items():
        values = {
            "starts_at": as_kept(max(validity.starts_at, _FIRST)),
            "expires_at": as_kept(min(validity.expires_at, _LAST)),
            "seen_at": as_kept(validity.seen_at),
        }
        row = stored.get(server)
        if row is None or _is_outdated(row, values):
            _store(server, values)


@retry.in_transaction
def _store(server: str, values: Mapping[str, datetime]) -> None:
    rows = ServerCertificate.objects.using(write_alias())
    rows.update_or_create(server=server, defaults=values)


def _is_outdated(row: ServerCertificate, seen: Mapping[str, datetime]) -> bool:
    if seen["seen_at"] <= row.seen_at:
        return False
    return row.expires_at != seen["expires_at"] or seen["seen_at"] >= row.seen_at + _STORE_EVERY


def _servers(configuration: Configuration) -> dict[str, SettingsSetConfig]:
    """The servers that the sets connect to with TLS, with the first set of each."""
    found: dict[str, SettingsSetConfig] = {}
    for item in configuration.sets:
        if item.uses_esp or item.encryption == "none":
            continue
        host, port = item.host, item.port
        if item.authentication == "default" and (server := standard.server()) is not None:
            host, port = server.host, server.port
        found.setdefault(_name(host, port), item)
    return found


def _name(host: str, port: int) -> str:
    return f"{host.lower()}:{port}"


def _certificates(configuration: Configuration) -> Iterator[Expiry]:
    servers = _servers(configuration)
    rows = ServerCertificate.objects.using(write_alias()).filter(server__in=servers)
    for row in rows.filter(seen_at__gte=timezone.now() - _RECENT):
        days = reached(row.expires_at, CERTIFICATE_DAYS, row.starts_at)
        if days is not None:
            item = servers[row.server]
            yield Expiry("certificate", item.name, item.key, row.expires_at, days, row.server)


def _consents(sets: Iterable[SettingsSetConfig]) -> Iterator[Expiry]:
    """Consents whose end the identity provider has told."""
    for item in sets:
        if item.authentication != "oauth2" or not OAuth.of(item.oauth).needs_consent:
            continue
        try:
            token = DatabaseTokenStore(item).load().token
        except EmailDeliveryError:
            continue  # the database can't be used; email fails, which is reported
        if token is None or not token.consent_ends_at:
            continue
        at = from_seconds(token.consent_ends_at)
        days = reached(at, DAYS, from_seconds(token.consent_dated_at))
        if days is not None:
            yield Expiry("consent", item.name, item.key, at, days)


def _client_secrets(sets: Iterable[SettingsSetConfig]) -> Iterator[Expiry]:
    """Client secrets whose date of expiry was entered; they may be used until that day."""
    for item in sets:
        if item.authentication != "oauth2":
            continue
        day = OAuth.of(item.oauth).secret_expiry
        at = midnight(day) if day is not None else None
        days = reached(at, DAYS) if at is not None else None
        if at is not None and days is not None:
            yield Expiry("secret", item.name, item.key, at, days)
