"""Every provider that reports: its real payloads, its signature, and forged ones."""

import pytest

from tests.support.payloads import SAMPLES, WHY
from tests.support.read_settings import ReadSettings
from wagtail_smtp import tracking
from wagtail_smtp.models import DeliveryEvent, LogRecipient
from wagtail_smtp.transports.esp import catalog

#: The webhooks of the email providers that have one.
WEBHOOKS = {
    slug: provider.webhook for slug, provider in catalog.PROVIDERS.items() if provider.webhook
}

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:django-anymail has dropped official support"),
]
TO = "recipient@example.com"


def good(slug):
    """What a delivery is reported as."""
    return "sent" if slug == "mandrill" else "delivered"


def test_every_provider_has_a_sample():
    assert set(SAMPLES) == set(WEBHOOKS)


@pytest.mark.parametrize("slug", WEBHOOKS)
def test_a_delivery_and_a_bounce_reach_the_recipient(slug, reporter):
    it = reporter(slug)
    it.sent(TO)
    assert it.send(it.sample.delivered(TO, it.sample.message_id)).status_code == 200
    row = LogRecipient.objects.get()
    assert row.reported == good(slug)
    assert it.send(it.sample.bounced(TO, it.sample.message_id)).status_code == 200
    row.refresh_from_db()
    assert row.reported == "bounced"
    assert WHY in row.reported_reason
    assert row.entry.reported == "bounced"
    assert [event.type for event in row.events.order_by("id")] == [good(slug), "bounced"]


@pytest.mark.parametrize("slug", [slug for slug in WEBHOOKS if SAMPLES[slug].key])
def test_a_forged_signature_changes_nothing(slug, reporter):
    it = reporter(slug)
    it.sent(TO)
    data = it.sample.bounced(TO, it.sample.message_id)
    assert it.send(data, key=it.sample.other_key).status_code == 400
    # Signed for something else.
    post = it.sample.post(it.sample.delivered(TO, it.sample.message_id), url=it.secrets.url)
    forged = type(post)(post.body.replace(b"example.com", b"example.net"), post.headers)
    if slug != "mailgun":  # which signs a token, not what it posts
        assert it.post(forged).status_code == 400
    bare = type(post)(post.body, {}, post.content_type)
    if slug not in ("mailgun", "unisender_go"):  # the signature stands in what they post
        assert it.post(bare).status_code == 400
    assert LogRecipient.objects.get().reported == ""
    assert not DeliveryEvent.objects.exists()


@pytest.mark.parametrize("slug", WEBHOOKS)
def test_without_the_password_nothing_is_taken(slug, reporter):
    it = reporter(slug)
    it.sent(TO)
    data = it.sample.bounced(TO, it.sample.message_id)
    # Amazon is asked for it, which is when it sends it.
    assert it.send(data, password="").status_code == (401 if slug == "amazon_ses" else 400)
    assert it.send(data, password="wrong").status_code == 400
    assert not DeliveryEvent.objects.exists()


@pytest.mark.parametrize("slug", WEBHOOKS)
def test_rubbish_is_refused_and_not_an_error(slug, reporter):
    it = reporter(slug)
    for data in ({}, [], "text", None, [None], {"events": 1}, {"event-data": {}}, 7):
        assert it.send(data).status_code in (200, 400)
    assert not DeliveryEvent.objects.exists()


@pytest.mark.parametrize("slug", WEBHOOKS)
def test_nothing_comes_from_the_projects_own_settings(slug, reporter, settings):
    settings.ANYMAIL = {
        "WEBHOOK_SECRET": "webhook:global",
        **{f"{slug.upper()}_{name}": "global" for name in ("API_KEY", "SIGNING_SECRET")},
        "MAILGUN_WEBHOOK_SIGNING_KEY": "global",
        "MANDRILL_WEBHOOK_KEY": "global",
        "MANDRILL_WEBHOOK_URL": "https://elsewhere.example.com/",
        "POSTAL_WEBHOOK_KEY": "global",
        "MAILTRAP_TRACKING_SECRET": "global",
        "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": "global",
    }
    it = reporter(slug)
    it.sent(TO)
    data = it.sample.delivered(TO, it.sample.message_id)
    assert it.send(data, password="global").status_code == 400
    assert it.send(data).status_code == 200
    assert LogRecipient.objects.get().reported == good(slug)


@pytest.mark.parametrize("slug", WEBHOOKS)
def test_every_option_of_anymails_views_is_in_the_catalog(slug, reporter, settings):
    """django-anymail looks in the project's settings for an option that it wasn't given."""
    it = reporter(slug)
    it.sent(TO)
    settings.ANYMAIL = ReadSettings()
    assert it.send(it.sample.delivered(TO, it.sample.message_id)).status_code == 200
    assert settings.ANYMAIL.keys_read == set()


@pytest.mark.parametrize("slug", ["resend", "sendgrid", "mailtrap"])
def test_a_provider_that_may_sign_needs_no_key(slug, reporter):
    it = reporter(slug)
    it.sent(TO)
    tracking.change_key(it.item, "")
    data = it.sample.delivered(TO, it.sample.message_id)
    assert it.send(data, key=it.sample.other_key).status_code == 200
    assert LogRecipient.objects.get().reported == good(slug)


@pytest.mark.parametrize("slug", [slug for slug in WEBHOOKS if WEBHOOKS[slug].needs_key])
def test_a_provider_that_must_sign_is_refused_without_a_key(slug, reporter):
    it = reporter(slug)
    tracking.change_key(it.item, "")
    data = it.sample.delivered(TO, it.sample.message_id)
    assert it.send(data).status_code == 400
    # Mandrill tells the key only after it has seen that there is somebody.
    assert it.client.head(it.url).status_code == 200
