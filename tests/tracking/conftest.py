"""Sets whose provider reports, entries they report about, and the provider's requests."""

import importlib
import uuid
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.support.payloads import SAMPLES, Post, Sample
from wagtail_smtp import live, tracking
from wagtail_smtp.delivery.log.entries import recipient
from wagtail_smtp.models import LogEntry, LogRecipient, SettingsSet


@dataclass
class Reporter:
    """A provider that was given the address of a set."""

    item: SettingsSet
    sample: Sample
    secrets: tracking.WebhookSecret
    client: Client
    url: str

    def send(self, data: Any, *, key: str = "", password: str | None = None, **values: Any) -> Any:
        """Post what is reported, signed and with the password that stands in the address."""
        return self.post(self.sample.post(data, key=key, url=self.secrets.url), password, **values)

    def post(self, post: Post, password: str | None = None, **values: Any) -> Any:
        known = self.secrets.password if password is None else password
        auth = {"Authorization": "Basic " + b64encode(f"webhook:{known}".encode()).decode()}
        headers = (auth if known else {}) | post.headers
        return self.client.post(
            self.url, data=post.body, content_type=post.content_type, headers=headers, **values
        )

    def sent(self, *addresses: str, provider_id: str | None = None, **values: Any) -> LogEntry:
        """An entry of a message that left through the set."""
        known = {"category": "form", "category_source": "default", "via": self.item.name}
        entry = LogEntry.objects.create(
            state="sent", subject="Hello", set_key=self.item.key, **(known | values)
        )
        given = self.sample.message_id if provider_id is None else provider_id
        for address in addresses or ("recipient@example.com",):
            row: LogRecipient = recipient(address, "sent", provider_id=given)
            row.entry = entry
            row.save()
        return entry


@pytest.fixture
def reporter(db: None, client: Client) -> Callable[..., Reporter]:
    """A set with a provider, and that provider: ``reporter("mailgun")``."""

    def make(slug: str = "postmark") -> Reporter:
        item = SettingsSet.objects.create(
            name=f"{slug} {uuid.uuid4().hex[:6]}", transport=slug, authentication="none"
        )
        url = reverse("wagtail_smtp:webhook", args=[item.key, slug])
        tracking.renew(item, f"http://testserver{url}")
        tracking.change_key(item, SAMPLES[slug].key)
        known = tracking.of_set(item)
        assert known is not None
        return Reporter(item, SAMPLES[slug], known, client, url)

    return make


@pytest.fixture
def reload(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make the sets live, whatever is missing for sending: here they only get reports."""
    # The package's function of that name hides the module.
    module = importlib.import_module("wagtail_smtp.live.publish")
    monkeypatch.setattr(module, "_problems", lambda target: ())
    return live.reload
