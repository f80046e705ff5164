"""Random configurations, as the admin's form could have saved them."""

import random
import uuid
from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model
from wagtail.models import Site

from tests.support.servers.smtp_server import CA_PEM
from tests.support.sites import make_sites
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.config.oauth import FLOWS, OAuth
from wagtail_smtp.config.references import PASSWORD, Reference, SecretContent
from wagtail_smtp.config.values import EXTENSIONS
from wagtail_smtp.config_files.fields import secret_names
from wagtail_smtp.live import set_secrets
from wagtail_smtp.models import DeliverySettings, ReportEmail, SettingsSet, SiteSender
from wagtail_smtp.transports.esp.catalog import PROVIDERS, SELF_HOSTED

#: Text that YAML or a shell could take for something else.
ODD = (
    *("no", "on", "1e3", "0o10", "2026-01-01", "~", "null", "true", "0x1F", "1:30", "=", "<<", "y"),
    *("- x", "? x", "a: b # c", "# x", "'x'", '"x"', "{x}", "[y]", "*x", "&x", "!x", "%x", "@x"),
    *("|", ">", "`x", "x\\y", "x,y", "12", "-5", "1.5", "…", "Größe “x”", "日本語", "📮 mail"),
    *("e\u0301", "שלום", "\u200bx", "\ufeffx", "$HOME", "{env: X}", "a  b"),
)
PROVIDER_VALUES = {
    "text": "a-B_1.2:3",
    "url": "https://postal.example.com/x",
    "domain": "mg.example.com",
    "region": "eu-west-1",
}


class RandomSets:
    """Saves random sets; the same seed saves the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def save(self) -> None:
        """Save a delivery method and up to six sets, with secrets, references and users."""
        chosen = self._random
        DeliverySettings.objects.update_or_create(
            pk=1, defaults={"method": chosen.choice(["custom", "standard"])}
        )
        users = [
            get_user_model().objects.create_user(name)
            for name in chosen.sample(["ada", "on", "grace@example.com", "jörg", "1234"], 2)
        ]
        sites = make_sites()
        for position, name in enumerate(chosen.sample(ODD, chosen.randint(0, 6))):
            self._save_set(name, position, users, sites)

    def _save_set(self, name: str, position: int, users: list[Any], sites: Sequence[Site]) -> None:
        chosen = self._random
        item = SettingsSet(
            name=name,
            slug=chosen.choice(["", f"{position}-{chosen.randint(0, 99)}", f"On_{position}-x"]),
            key=uuid.UUID(int=chosen.getrandbits(128), version=4),  # MariaDB refuses other bits
            sort_order=position * chosen.randint(1, 3),
            enabled=chosen.random() < 0.7,
            timeout=chosen.randint(1, 300),
            max_size=chosen.choice([None, 1, 32767]),
            max_per_second=chosen.choice([None, 1, 14]),
            max_per_hour=chosen.choice([None, 1_000_000_000]),
            backup=self._maybe,
            redirect=self._maybe,
            categories=chosen.sample(BUILT_IN, chosen.choice([0, 0, 1, 3])),
            sites=sorted(site.pk for site in chosen.sample(sites, chosen.choice([0, 0, 1, 2]))),
            notify_user=chosen.choice([None, *users]),
            sender_name=self._text,
            sender_address=chosen.choice(["", "sender@example.com", "x@größe.example"]),
            **self._transport(),
        )
        item.always_use_sender = bool(item.sender_address) and self._maybe
        item.report_emails = [
            ReportEmail(address=f"qa{n}@example.com", enabled=n == 0 or self._maybe, sort_order=n)
            for n in range(chosen.randint(int(item.redirect), 3))
        ]
        item.site_senders = [
            SiteSender(site=site, sender_name=self._text, sender_address=f"{site.pk}@example.com")
            for site in chosen.sample(sites, chosen.choice([0, 0, 1, 2]))
        ]
        self._store_secret(item)
        item.save()

    @property
    def _maybe(self) -> bool:
        return self._random.random() < 0.5

    @property
    def _text(self) -> str:
        return self._random.choice(["", *ODD])

    def _transport(self) -> dict[str, Any]:
        return self._provider() if self._random.random() < 0.4 else self._smtp()

    def _provider(self) -> dict[str, Any]:
        chosen = self._random
        provider = chosen.choice(list(PROVIDERS.values()))
        options = {
            option.name: chosen.choice([value for value, _label in option.choices])
            if option.choices
            else PROVIDER_VALUES[option.kind]
            for option in provider.options
            if not option.is_secret and (option.is_required or self._maybe)
        }
        certificates = CA_PEM.strip() if provider.slug in SELF_HOSTED and self._maybe else ""
        return {
            "transport": provider.slug,
            "authentication": "none",
            "provider": options,
            "ca_certificates": certificates,
        }

    def _smtp(self) -> dict[str, Any]:
        chosen = self._random
        authentication = chosen.choice(["none", "password", "default", "oauth2"])
        common = {
            "authentication": authentication,
            "ehlo_name": chosen.choice(["", "www.example.com"]),
            "bounce_address": chosen.choice(["", "bounces@example.com"]),
            "ignored_extensions": chosen.sample(EXTENSIONS, chosen.randint(0, 4)),
        }
        if authentication == "default":
            return common
        encryption = chosen.choice(["starttls", "ssl", "none"])
        host = "127.0.0.1" if encryption == "none" else chosen.choice(["10.0.0.1", "größe.example"])
        common |= {
            "host": host,
            "port": chosen.randint(1, 65535),
            "encryption": encryption,
            "ca_certificates": chosen.choice(["", CA_PEM.strip()]),
            "username": chosen.choice([*ODD, "me@example.com"]),
        }
        return common | ({"oauth": self._oauth()} if authentication == "oauth2" else {})

    def _oauth(self) -> dict[str, str]:
        provider = self._random.choice(list(FLOWS))
        return OAuth(
            provider=provider,
            flow=self._random.choice(FLOWS[provider]),
            cloud=self._random.choice(["global", "us", "china"]),
            tenant="0e1f",
            client_id="123",
            authorize_url="https://login.example.com/authorize",
            token_url="https://login.example.com/token",
            scope=self._random.choice(["", "smtp offline_access"]),
            secret_expires_on=self._random.choice(["", "2027-12-31"]),
        ).as_dict()

    def _store_secret(self, item: SettingsSet) -> None:
        """A secret that is stored, or read from elsewhere, or none."""
        config = item.frozen(())
        names = secret_names(config)
        if not names or self._random.random() < 0.1:
            return
        values: dict[str, str | Reference] = {}
        for name in names:
            stored = name if config.uses_esp else PASSWORD
            values[stored] = self._random.choice(
                [
                    f"canary-{name}",
                    Reference("env", f"SMTP_{item.key.hex[:6].upper()}"),
                    Reference("file", f"/run/secrets/{item.key.hex[:6]}"),
                ]
            )
        content = SecretContent.of(values)
        item.secret = set_secrets.store(config, content, allow_new_destination=True)


def snapshot() -> dict[str, Any]:
    """What a file contains, as the database has it, except secrets.

    Keys and IDs are left out, because they differ between two databases.
    """
    sets = []
    for item in SettingsSet.objects.order_by("sort_order", "pk"):
        config = item.frozen(item.report_emails.all(), item.site_senders.all())
        values = {
            name: getattr(config, name)
            for name in config.__slots__
            if name not in ("key", "secret", "webhook_secret")
        }
        sets.append({"id": item.slug, "enabled": item.enabled, **values})
    return {"method": DeliverySettings.load().method, "sets": sets}
