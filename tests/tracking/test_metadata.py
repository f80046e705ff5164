"""The key that goes along with a message, by which reports find what got no answer."""

import base64
import json
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.urls import reverse

from tests.live.test_esp_sets import message, provider, provider_set
from tests.support.payloads import SAMPLES
from tests.support.servers.provider_server import HANG_UP, PROVIDERS
from tests.tracking.conftest import Reporter
from wagtail_smtp import tracking
from wagtail_smtp.delivery.log import tracking_events
from wagtail_smtp.exceptions import MessageOutcomeUnknown
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import Reported
from wagtail_smtp.transports.esp import catalog

__all__ = ["provider", "provider_set"]
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:django-anymail has dropped official support"),
]


def send(provider, slug, **values):
    provider.answer = PROVIDERS[slug].accepted(["to@example.com"])
    sent = message(**values)
    assert sent.send() == 1
    return sent, provider.requests[-1].text


@pytest.mark.parametrize("slug", PROVIDERS)
def test_it_goes_where_it_comes_back(provider, provider_set, reload, slug):
    provider_set(slug)
    reload()
    sent, text = send(provider, slug)
    key = str(LogEntry.objects.get().key)
    if slug == "amazon_ses":  # the whole message, in base64
        raw = json.loads(provider.requests[-1].body)["Content"]["Raw"]["Data"]
        text = base64.b64decode(raw).decode()
    assert (key in text) == catalog.PROVIDERS[slug].returns_metadata
    # The caller's message is as it was.
    assert "metadata" not in vars(sent)
    if slug in ("mailersend", "postal", "scaleway"):
        assert not catalog.PROVIDERS[slug].returns_metadata
    else:
        assert catalog.PROVIDERS[slug].webhook is not None


@pytest.mark.parametrize(
    "values",
    [
        {"template_id": "welcome"},
        {"merge_data": {}},
        {"esp_extra": {"v:mine": "1"}},
        {"metadata": {f"n{i}": "x" for i in range(10)}},
        {"headers": {"X-Mailgun-Variables": '{"mine": 1}'}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_a_project_sends_along_itself_stays(provider, provider_set, reload, values):
    provider_set("mailgun")
    reload()
    sent, text = send(provider, "mailgun", **values)
    assert "wsmtp" not in text
    for name, value in values.items():
        assert getattr(sent, "extra_headers" if name == "headers" else name) == value


def test_beside_that_of_a_project(provider, provider_set, reload):
    provider_set("postmark")
    reload()
    own = {"order": "12"}
    sent, text = send(provider, "postmark", metadata=own)
    assert '"order": "12"' in text
    assert str(LogEntry.objects.get().key) in text
    assert sent.metadata is own
    assert own == {"order": "12"}


def test_what_got_no_answer_is_found_by_it(provider, provider_set, reload, client):
    item = provider_set("postmark")
    reload()
    provider.answer = HANG_UP
    with pytest.raises(MessageOutcomeUnknown):
        message().send()
    entry = LogEntry.objects.get()
    assert entry.state == "unknown"
    content = json.loads(provider.requests[-1].body)
    [sent] = content if isinstance(content, list) else [content]
    url = reverse("wagtail_smtp:webhook", args=[item.key, "postmark"])
    known = tracking.renew(item, f"http://testserver{url}")
    it = Reporter(item, SAMPLES["postmark"], known, client, url)
    data = it.sample.delivered("to@example.com", "a name nobody was told")
    assert it.send(data | {"Metadata": sent["Metadata"]}).status_code == 200
    assert LogRecipient.objects.get().reported == "delivered"
    entry.refresh_from_db()
    assert (entry.state, entry.reported) == ("unknown", "delivered")
    # The key of another set's message leads nowhere.
    other = tracking_events.event(
        uuid4(), Reported.BOUNCED, address="to@example.com", entry_key=entry.key
    )
    tracking_events.store([other])
    assert LogRecipient.objects.get().reported == "delivered"


def test_by_way_of_the_outbox(provider, provider_set, reload, configure):
    configure(DELIVERY="queued")
    provider_set("mailgun")
    reload()
    provider.answer = PROVIDERS["mailgun"].accepted([])
    message().send()
    call_command("smtp_outbox", "--once", "--threads", "1")
    assert str(LogEntry.objects.get().key) in provider.requests[-1].text
