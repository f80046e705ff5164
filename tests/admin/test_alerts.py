"""*Alerts*: who sees it, what it shows, and a test alert."""

import pytest
from django.core import mail
from django.urls import resolve, reverse
from wagtail.models import ModelLogEntry

from tests.channels.conftest import receiver
from wagtail_smtp import alerts
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.models import Alert

__all__ = ["receiver"]
INDEX = "wagtail_smtp_alerts:index"
TEST = "wagtail_smtp_alerts:test"


def get(client):
    response = client.get(reverse(INDEX))
    assert response.status_code == 200
    return response.content.decode()


def test_nothing_is_set_up(admin_client, settings):
    settings.ADMINS = []
    text = get(admin_client)
    assert "data-no-channels" in text
    assert reverse(TEST) not in text


def test_channels_are_shown_without_their_secrets(admin_client, receiver, admins, configure):
    configure(
        ALERTS=[receiver.apprise_url, "slack://canary/b/c", "mailto://a:canary@example.com"],
        ALERTS_OFF=["store"],
    )
    text = get(admin_client)
    for name in ("email", "custom_json", "slack", "mailto"):
        assert f'data-name="{name}"' in text
    assert "data-off" in text
    assert "canary" not in text


def test_a_test_alert(admin_client, receiver, admins):
    response = admin_client.post(reverse(TEST), follow=True)
    text = response.content.decode()
    assert len(receiver.received) == len(mail.outbox) == 1
    assert 'data-channel="custom_json"' in text
    assert text.count('data-state="sent"') == 2
    assert ModelLogEntry.objects.filter(action="wagtail_smtp.test_alert").count() == 1
    assert [str(message.level_tag) for message in response.context["messages"]] == ["success"]


def test_a_test_alert_that_fails(admin_client, receiver, admins):
    receiver.status = 404
    response = admin_client.post(reverse(TEST), follow=True)
    assert [message.level_tag for message in response.context["messages"]] == ["error"]
    text = response.content.decode()
    assert 'data-state="failed"' in text
    assert "HTTP 404" in text
    assert "canary" not in text


def test_a_test_without_channels(admin_client, settings):
    settings.ADMINS = []
    response = admin_client.post(reverse(TEST), follow=True)
    assert [message.level_tag for message in response.context["messages"]] == ["error"]
    assert Alert.objects.count() == 0


def test_tests_are_limited(admin_client, receiver):
    for _ in range(40):
        admin_client.post(reverse(TEST))
    assert 0 < len(receiver.received) < 40


def test_each_test_is_an_alert_of_its_own(admin_client, receiver):
    for _ in range(2):
        admin_client.post(reverse(TEST))
    assert len(receiver.received) == 2


@pytest.mark.parametrize(
    ("permissions", "sees", "tests"),
    [
        ((), False, False),
        (("view_settingsset",), True, False),
        (("send_test_email",), False, False),
        (("view_settingsset", "send_test_email"), True, True),
        (("view_logentry",), False, False),
    ],
)
def test_who_may(client, make_user, receiver, permissions, sees, tests):
    client.force_login(make_user(*permissions))
    response = client.get(reverse(INDEX))
    assert (response.status_code == 200) is sees
    assert (reverse(TEST) in response.content.decode()) is tests
    client.post(reverse(TEST))
    assert bool(receiver.received) is tests


def test_a_get_sends_nothing(admin_client, receiver):
    assert admin_client.get(reverse(TEST)).status_code == 405
    assert receiver.received == []


def test_what_strangers_wrote_is_only_text(admin_client, admins):
    for _ in range(3):
        alerts.report(AlertKind.GIVEN_UP, "a", "<script>alert(1)</script>", "Text")
    text = get(admin_client)
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_states_of_alerts(admin_client):
    Alert.objects.create(kind="waiting", subject="Expired", state=Alert.State.EXPIRED)
    Alert.objects.create(kind="waiting", subject="Open")
    Alert.objects.create(kind="of a later release", subject="No one", state=Alert.State.DONE)
    Alert.objects.create(
        kind="store",
        subject="Unknown",
        repetitions=3,
        outcomes={
            "slack-2": {"state": "unknown", "detail": ""},
            "new": {"state": "x", "detail": ""},
        },
    )
    text = get(admin_client)
    assert 'data-channel="slack-2"' in text
    assert 'data-state="unknown"' in text


def test_it_is_linked_from_email_delivery(admin_client):
    text = admin_client.get(reverse("wagtail_smtp_delivery:index")).content.decode()
    links = text.partition("data-alerts")[2].partition("</dd>")[0]
    assert reverse(INDEX) in links


def test_pages_of_many_alerts(admin_client, django_assert_max_num_queries):
    Alert.objects.bulk_create(Alert(kind="waiting", subject=f"Alert {i}") for i in range(60))
    get(admin_client)
    with django_assert_max_num_queries(15):
        assert admin_client.get(reverse(INDEX) + "?p=3").status_code == 200


def test_a_test_alert_is_sent_in_no_transaction():
    """With ATOMIC_REQUESTS on SQLite, the thread would wait for the page, and the page for it."""
    assert resolve(reverse(TEST)).func._non_atomic_requests == {"default"}


def test_a_setting_of_the_wrong_type(admin_client, admins, configure):
    configure(ALERTS="slack://canary/b/c")
    text = get(admin_client)
    assert 'data-name="email"' in text
    assert "canary" not in text
