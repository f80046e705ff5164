"""Who may report, how much, and what is answered."""

import json
import logging
import uuid

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from tests.support.payloads import sns
from wagtail_smtp import live
from wagtail_smtp import tracking as tracking
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.models import DeliveryEvent, LogEntry, LogRecipient, Secret, SettingsSet

pytestmark = pytest.mark.django_db
TO = "recipient@example.com"


def delivered(it, to=TO):
    return it.sample.delivered(to, it.sample.message_id)


def test_nobody_can_tell_which_sets_there_are(reporter):
    it = reporter()
    answers = []
    for key, slug in (
        (uuid.uuid4(), "postmark"),
        (it.item.key, "brevo"),
        (it.item.key, "nothing"),
        (SettingsSet.objects.create(name="Bare", transport="postmark").key, "postmark"),
        (SettingsSet.objects.create(name="SMTP").key, "smtp"),
    ):
        it.url = reverse("wagtail_smtp:webhook", args=[key, slug])
        for answer in (it.send(delivered(it)), it.client.head(it.url), it.client.get(it.url)):
            assert answer.status_code == 404
            answers.append(answer.content)
    assert set(answers) == {b""}


def test_only_post_reports(reporter):
    it = reporter()
    assert it.client.head(it.url).status_code == 200
    assert it.client.get(it.url).status_code == 405
    assert it.client.put(it.url).status_code == 405
    other = reporter("unisender_go")
    assert other.client.get(other.url).status_code == 200


def test_no_session_cookie_or_token_is_needed(reporter, settings):
    login_wall = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, login_wall]
    it = reporter()
    it.client = Client(enforce_csrf_checks=True)
    assert it.send(delivered(it)).status_code == 200


def test_a_password_made_anew_shuts_the_old_one_out_at_once(reporter, reload):
    it = reporter("mailgun")
    reload()
    before = it.item.webhook_secret_id
    new = tracking.renew(it.item, "http://testserver" + it.url)
    assert new.key == it.secrets.key
    assert it.send(delivered(it)).status_code == 400
    it.secrets = new
    assert it.send(delivered(it)).status_code == 200
    assert Secret.objects.get(pk=before).ciphertext == ""
    # Nor does it come back with the live version, when the set is gone.
    it.item.delete()
    assert it.send(delivered(it)).status_code == 404


def test_reports_of_a_deleted_set_are_taken_while_it_is_live(reporter, reload):
    it = reporter()
    it.sent(TO)
    reload()
    key = it.item.key
    it.item.delete()
    revoke(key)
    assert it.send(delivered(it)).status_code == 200
    assert LogRecipient.objects.get().reported == "delivered"
    reload(end_redirect=True)
    assert it.send(delivered(it)).status_code == 404


def test_reports_of_the_provider_before_are_taken_while_it_is_live(reporter, reload):
    it = reporter("postmark")
    it.sent(TO)
    reload()
    SettingsSet.objects.filter(pk=it.item.pk).update(transport="brevo")
    assert it.send(delivered(it)).status_code == 200
    assert LogRecipient.objects.get().reported == "delivered"


def test_removing_the_password_of_a_set_leaves_its_reports(reporter, reload):
    it = reporter()
    reload()
    revoke(it.item.key)
    reload()
    assert it.send(delivered(it)).status_code == 200


def test_an_earlier_version_does_not_bring_an_old_password_back(reporter, reload):
    it = reporter()
    first = reload()
    SettingsSet.objects.filter(pk=it.item.pk).update(name="Renamed")
    reload()
    it.secrets = tracking.renew(it.item, "http://testserver" + it.url)
    live.make_live(first)
    assert SettingsSet.objects.get().name != "Renamed"
    assert it.send(delivered(it)).status_code == 200
    assert not live.preview().has_changes


def test_secrets_copied_to_another_set_are_worth_nothing(reporter):
    it = reporter()
    other = SettingsSet.objects.create(
        name="Other", transport="postmark", webhook_secret=it.item.webhook_secret
    )
    it.url = reverse("wagtail_smtp:webhook", args=[other.key, "postmark"])
    assert it.send(delivered(it)).status_code == 404


def test_a_request_that_is_too_large_is_not_read(reporter, monkeypatch, settings):
    it = reporter()
    monkeypatch.setattr(tracking, "MAX_SIZE", 1000)
    assert it.send(delivered(it) | {"Details": "x" * 1000}).status_code == 413
    # What people may send at most says nothing of providers.
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    assert it.send(delivered(it)).status_code == 200


def test_a_stranger_is_not_read_at_all(reporter, monkeypatch):
    monkeypatch.setattr(tracking, "MAX_SIZE", 10)  # more would be answered with 413
    for slug in ("postmark", "amazon_ses"):
        it = reporter(slug)
        for header in ("Bearer x", "Basic", "Basic !", "Basic cmVwb3J0czp3cm9uZw=="):
            post = it.sample.post(delivered(it))
            headers = post.headers | {"Authorization": header}
            answer = it.client.post(
                it.url, data=post.body, content_type=post.content_type, headers=headers
            )
            assert answer.status_code == 400


def test_a_batch_that_is_too_long_is_refused(reporter, monkeypatch):
    it = reporter("mailjet")
    monkeypatch.setattr(tracking, "MAX_EVENTS", 3)
    assert it.send(delivered(it) * 4).status_code == 413
    assert not DeliveryEvent.objects.exists()
    assert it.send(delivered(it) * 3).status_code == 200


def test_a_set_takes_so_many_requests_a_minute(reporter, configure):
    configure(WEBHOOK_REQUESTS_PER_MINUTE=2)
    it, other = reporter(), reporter()
    # Strangers use up nothing of it.
    for _ in range(4):
        assert it.send(delivered(it), password="wrong").status_code == 400
    codes = [it.send(delivered(it)).status_code for _ in range(3)]
    if codes != [200, 200, 429]:  # a minute ended in between
        codes = [it.send(delivered(it)).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    assert other.send(delivered(other)).status_code == 200


def test_without_a_cache_that_counts_the_process_does(reporter, configure, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    configure(WEBHOOK_REQUESTS_PER_MINUTE=2)
    it = reporter()
    assert [it.send(delivered(it)).status_code for _ in range(3)] == [200, 200, 429]


def test_forgeries_are_told_of_once_a_minute_and_without_what_was_sent(reporter, caplog):
    it = reporter("mailgun")
    with caplog.at_level(logging.INFO, "wagtail_smtp"):
        for _ in range(5):
            it.send(delivered(it), key="another-canary")
        it.send(delivered(it), password="wrong-canary")
    lines = [record for record in caplog.records if record.name.startswith("wagtail_smtp")]
    assert len(lines) == 1
    assert lines[0].levelno == logging.WARNING
    assert TO not in lines[0].getMessage()
    assert "canary" not in caplog.text
    assert lines[0].exc_info is None


def test_an_unknown_kind_is_answered_well_and_not_kept(reporter, caplog):
    it = reporter("mailjet")
    it.sent(TO)
    with caplog.at_level(logging.INFO, "wagtail_smtp"):
        assert it.send([{"event": "levitated", "MessageID": 1, "email": TO}]).status_code == 200
    assert "unknown" in caplog.text
    assert not DeliveryEvent.objects.exists()


def test_the_projects_receivers_hear_as_from_django_anymail(reporter):
    from anymail.signals import tracking as anymail_tracking
    from anymail.webhooks.postmark import PostmarkTrackingWebhookView

    it = reporter()
    it.sent(TO)
    heard = []

    def hear(sender, event, esp_name, **kwargs):
        heard.append((sender, event.event_type, esp_name, LogEntry.objects.get().reported))

    anymail_tracking.connect(hear, sender=PostmarkTrackingWebhookView)
    try:
        assert it.send(delivered(it)).status_code == 200
    finally:
        anymail_tracking.disconnect(hear, sender=PostmarkTrackingWebhookView)
    assert heard == [(PostmarkTrackingWebhookView, "delivered", "Postmark", "delivered")]


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_fails_loses_nothing_of_ours(reporter):
    from anymail.signals import tracking as anymail_tracking

    it = reporter()
    it.sent(TO)
    it.client.raise_request_exception = False

    def fail(**kwargs):
        raise RuntimeError("the project's own")

    anymail_tracking.connect(fail)
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        # The provider reports again, as django-anymail has it.
        assert it.send(delivered(it)).status_code == 500
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
        anymail_tracking.disconnect(fail)
    assert LogRecipient.objects.get().reported == "delivered"
    assert it.send(delivered(it)).status_code == 200
    assert DeliveryEvent.objects.count() == 1


def test_amazons_subscription_is_confirmed_where_the_topic_is(reporter, monkeypatch):
    asked = []
    monkeypatch.setattr(tracking.guard, "resolve", lambda host, port: asked.append((host, port)))

    def refuse(addresses, timeout, use):
        raise ConnectionRefusedError

    monkeypatch.setattr(tracking.guard, "open_first", refuse)
    it = reporter("amazon_ses")

    def subscribe(topic, **values):
        message = {
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37",
            "TopicArn": topic,
            "SubscribeURL": "https://elsewhere.example.com/",
        }
        return it.post(sns(message), **values).status_code

    good = "arn:aws:sns:eu-central-1:123456789012:SES_Events"
    assert subscribe(good, password="wrong") == 400
    assert not asked
    assert subscribe(good) == 400  # it can't be reached, so Amazon asks again
    assert asked == [("sns.eu-central-1.amazonaws.com", 443)]
    for topic in (
        "arn:aws:sns:evil.example.com/:123456789012:x",
        "arn:aws:sns:eu-central-1@evil-1:123456789012:x",
        "",
    ):
        assert subscribe(topic) == 400
    assert len(asked) == 1


def test_canaries_stand_nowhere(reporter, reload, caplog):
    it = reporter("mailgun")
    it.sent(TO)
    reload()
    it.send(delivered(it))
    it.send(delivered(it), key="another")
    assert repr(it.secrets) == "WebhookSecret()"
    rows = [*Secret.objects.values_list("ciphertext"), *DeliveryEvent.objects.values_list()]
    version = live.live_version().content
    for secret in (it.secrets.password, it.sample.key):
        assert secret not in json.dumps([version, *map(str, rows)])
        assert secret not in caplog.text
