"""The pages about delivery reports: who gets in, what is shown once, and what never."""

import pytest
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.sets.test_esp_form import posted
from tests.support.log_entries import make_entry
from tests.support.payloads import EC_KEY, RSA_KEY, public
from wagtail_smtp import tracking
from wagtail_smtp.models import DeliveryEvent, LogEntry, LogRecipient, Secret, SettingsSet

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:django-anymail has dropped official support"),
]
CANARY = "canary-77aa"


@pytest.fixture
def make_provider():
    def make(slug="mailgun", *, secret=True, key=""):
        item = SettingsSet.objects.create(name=f"Our {slug}", transport=slug)
        if secret:
            tracking.renew(item, "https://www.example.com/r/")
            tracking.change_key(item, key)
        return item

    return make


def page(item):
    return reverse("wagtail_smtp_tracking:set", args=[item.pk])


@pytest.mark.parametrize("method", ["get", "post"])
def test_only_who_may_change_sets_gets_in(client, make_user, make_provider, method):
    item = make_provider(key=CANARY)
    before = item.webhook_secret_id
    user = make_user("view_settingsset", "view_logentry", "reload_application", "redirect_mail")
    client.force_login(user)
    response = getattr(client, method)(page(item), {"renew": "1"})
    assert response.status_code == 302
    assert response.url == reverse("wagtailadmin_home")
    client.logout()
    assert getattr(client, method)(page(item), {"renew": "1"}).status_code == 302
    assert SettingsSet.objects.get().webhook_secret_id == before
    client.force_login(make_user("change_settingsset", name="other"))
    assert client.get(page(item)).status_code == 200


def test_a_post_needs_its_token(make_user, make_provider):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("change_settingsset"))
    item = make_provider(secret=False)
    assert client.post(page(item), {"renew": "1"}).status_code == 403
    assert SettingsSet.objects.get().webhook_secret is None


def test_the_secret_is_shown_once_and_works(admin_client, make_provider, client):
    item = make_provider("postmark", secret=False)
    assert "Create address" in admin_client.get(page(item)).text
    response = admin_client.post(page(item), {"renew": "1"})
    item.refresh_from_db()
    known = tracking.of_set(item)
    assert known.url in response.text
    assert known.url == (
        f"http://webhook:{known.password}@testserver/email/webhooks/{item.key}/postmark/"
    )
    assert "no-store" in response["Cache-Control"]
    edit = reverse("wagtailsnippets_wagtail_smtp_settingsset:edit", args=[item.pk])
    for url in (page(item), edit, reverse("wagtail_smtp_reload:index")):
        assert known.password not in admin_client.get(url).text
    (entry,) = ModelLogEntry.objects.filter(action="wagtail_smtp.tracking_secret")
    assert known.password not in str(entry.data)
    # Somebody else's second click makes another, and the first is worth nothing.
    admin_client.post(page(item), {"renew": "1"})
    item.refresh_from_db()
    assert tracking.of_set(item).password != known.password


def test_a_new_secret_upsets_nobody_who_edits_the_set(admin_client, make_provider):
    item = make_provider("mailgun", key=CANARY)
    revision = item.revision
    known = tracking.of_set(item)
    admin_client.post(page(item), {"renew": "1"})
    item.refresh_from_db()
    assert item.revision == revision
    assert tracking.of_set(item).key == CANARY
    assert tracking.of_set(item).password != known.password


def test_a_signing_key_is_kept_and_never_shown(admin_client, make_provider):
    item = make_provider("mailgun")
    before = admin_client.get(page(item)).text
    assert "All tracking events are refused" in before
    response = admin_client.post(page(item), {"key": f" {CANARY} "}, follow=True)
    assert CANARY not in response.text
    assert "The key was saved." in response.text
    assert "All tracking events are refused" not in response.text
    item.refresh_from_db()
    assert tracking.of_set(item).key == CANARY
    admin_client.post(page(item), {"key": ""})
    item.refresh_from_db()
    assert tracking.of_set(item).key == CANARY
    admin_client.post(page(item), {"key": "", "remove": "on"})
    item.refresh_from_db()
    assert tracking.of_set(item).key == ""
    assert ModelLogEntry.objects.filter(action="wagtail_smtp.tracking_key").count() == 2
    assert CANARY not in str(list(ModelLogEntry.objects.values_list()))
    assert CANARY not in str(list(Secret.objects.values_list()))


@pytest.mark.parametrize(
    ("slug", "key"),
    [
        ("resend", "whsec_###"),
        ("sendgrid", "nothing"),
        ("postal", "bm90aGluZw=="),
        ("mailgun", "schlüssel-77aa"),
    ],
)
def test_a_key_that_is_none_is_refused_at_its_field(admin_client, make_provider, slug, key):
    item = make_provider(slug)
    response = admin_client.post(page(item), {"key": key})
    assert "This is not a valid key for this email provider." in response.text
    assert key not in response.text
    assert tracking.of_set(item).key == ""


@pytest.mark.parametrize(("slug", "key"), [("sendgrid", EC_KEY), ("postal", RSA_KEY)])
def test_a_public_key_may_come_with_what_stands_around_it(admin_client, make_provider, slug, key):
    item = make_provider(slug)
    typed = f"-----BEGIN PUBLIC KEY----- {public(key)} -----END PUBLIC KEY-----"
    admin_client.post(page(item), {"key": typed})
    item.refresh_from_db()
    assert tracking.of_set(item).key == public(key)


def test_the_form_of_a_set_says_whether_reports_are_taken(
    admin_client, client, make_user, make_provider
):
    def shown(item):
        edit = reverse("wagtailsnippets_wagtail_smtp_settingsset:edit", args=[item.pk])
        return admin_client.get(edit).text

    ready, bare = make_provider("postmark"), make_provider("brevo", secret=False)
    assert "Events from Postmark are shown" in shown(ready)
    assert f"/email/webhooks/{ready.key}/postmark/" in shown(ready)
    assert "Set up delivery tracking" in shown(bare)
    for none in (
        SettingsSet.objects.create(name="SMTP", host="smtp.example.com"),
        make_provider("scaleway", secret=False),
    ):
        assert "delivery tracking</a>" not in shown(none)
        assert page(none) not in shown(none)
        assert admin_client.get(page(none)).status_code == 404
    assert admin_client.get(reverse("wagtail_smtp_tracking:set", args=[0])).status_code == 404


def test_a_site_without_the_address_says_what_is_missing(admin_client, make_provider, monkeypatch):
    from wagtail_smtp.admin.sets import webhook
    from wagtail_smtp.admin.sets import webhook as sets_webhook

    item = make_provider("postmark", secret=False)
    for module in (webhook, sets_webhook):
        monkeypatch.setattr(module, "address_of", lambda item, request: "")
    assert "include(&quot;wagtail_smtp.urls&quot;)" in admin_client.get(page(item)).text.replace(
        '"wagtail_smtp.urls"', "&quot;wagtail_smtp.urls&quot;"
    )
    admin_client.post(page(item), {"renew": "1"})
    item.refresh_from_db()
    assert item.webhook_secret is None


def test_a_copied_set_has_no_secret_of_reports(admin_client, make_provider):
    item = make_provider("postmark")
    url = reverse("wagtailsnippets_wagtail_smtp_settingsset:copy", args=[item.pk])
    admin_client.post(url, posted("postmark", name="Copy"))
    assert SettingsSet.objects.get(name="Copy").webhook_secret is None


def bounced_entry():
    entry = make_entry("a@example.com", "b@example.com", state="sent", subject="Bounced one")
    for row, kinds in zip(
        entry.recipients.order_by("pk"), (("delivered", "opened"), ("bounced",)), strict=True
    ):
        for kind in kinds:
            DeliveryEvent.objects.create(
                entry=entry,
                recipient=row,
                set_key="00000000-0000-0000-0000-000000000000",
                digest=f"{row.pk}{kind}",
                address=row.address,
                type=kind,
                happened_at=entry.created_at,
                reason="550 <script>unknown" if kind == "bounced" else "",
            )
        LogRecipient.objects.filter(pk=row.pk).update(reported=kinds[-1])
    LogEntry.objects.filter(pk=entry.pk).update(reported="bounced")
    return entry


def test_an_entry_shows_what_was_reported(admin_client):
    entry = bounced_entry()
    text = admin_client.get(reverse("wagtail_smtp_log:entry", args=[entry.pk])).text
    assert "Reported later: Bounced" in text
    assert "wsmtp-outcome--unsure" in text
    assert 'data-state="bounced"' in text
    assert text.index("Delivered") < text.index("550 &lt;script&gt;unknown")
    assert "<script>unknown" not in text


def test_an_entry_without_reports_says_nothing_of_them(admin_client):
    entry = make_entry(state="sent")
    text = admin_client.get(reverse("wagtail_smtp_log:entry", args=[entry.pk])).text
    assert 'id="tracking-section"' not in text
    assert "reported" not in text.lower()


def test_the_listing_marks_and_filters_what_came_back(admin_client):
    bounced_entry()
    other = make_entry(state="sent", subject="Fine one")
    LogEntry.objects.filter(pk=other.pk).update(reported="delivered")
    make_entry(state="sent", subject="Silent one")
    index = reverse("wagtail_smtp_log:index")
    text = admin_client.get(index).text
    assert text.count('<span class="w-status">Bounced</span>') == 1
    found = admin_client.get(index, {"reported": "bounced"}).text
    assert "Bounced one" in found
    assert "Fine one" not in found
    assert "Silent one" not in found
    assert "Fine one" in admin_client.get(index, {"reported": "delivered"}).text
    assert "Fine one" in admin_client.get(index, {"reported": "levitated"}).text
