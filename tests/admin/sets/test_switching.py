"""A set that is switched between SMTP, a provider and OAuth 2: what stays, and what people see."""

import json

import pytest
from django.urls import reverse

from tests.admin.conftest import form_data
from tests.admin.sets.test_esp_form import posted
from tests.admin.sets.test_oauth_form import CANARY, MICROSOFT
from wagtail_smtp import live, tracking
from wagtail_smtp.live import consents
from wagtail_smtp.models import OAuthToken, Secret, SettingsSet
from wagtail_smtp.transports.oauth.client import Token

ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"


@pytest.fixture
def save(admin_client):
    """Post the form of the one set there is; what it says is wrong."""

    def post(data):
        item = SettingsSet.objects.first()
        if item is None:
            response = admin_client.post(reverse(ADD), data)
        else:
            data |= {"loaded_revision": str(item.revision)}
            response = admin_client.post(reverse(EDIT, args=[item.pk]), data)
        return {} if response.status_code == 302 else dict(response.context["form"].errors)

    return post


def oauth(**values):
    return form_data(**(MICROSOFT | values))


def secret():
    """What the set's secret holds, and None if it has none."""
    item = SettingsSet.objects.get()
    return item.secret.reveal(item.frozen(()).binding()) if item.secret else None


def test_each_kind_of_secret_is_for_its_own_way(save):
    """All the way round, and each time what was typed for another way serves for nothing."""
    no_keys = {"keys": {"server_token": ""}}
    assert save(form_data()) == {}
    assert secret() == "canary-5f1e"
    assert set(save(posted("postmark", **no_keys))) == {"provider_postmark_server_token"}
    assert save(posted("postmark")) == {}
    assert "server_token" in json.loads(secret())
    assert set(save(oauth(oauth_client_secret=""))) == {"oauth_client_secret"}
    assert save(oauth()) == {}
    assert secret() == CANARY
    assert SettingsSet.objects.get().provider == {}
    assert set(save(posted("postmark", **no_keys))) == {"provider_postmark_server_token"}
    assert set(save(form_data(password=""))) == {"password"}
    assert save(form_data(authentication="none", password="")) == {}
    assert secret() is None
    item = SettingsSet.objects.get()
    assert (item.transport, item.provider, item.oauth) == ("smtp", {}, {})


def test_what_is_live_keeps_its_secret_until_the_reload(save):
    assert save(form_data()) == {}
    live.reload()
    before = live.live_version().content["sets"][0]["secret"]
    assert save(posted("postmark")) == {}
    assert Secret.objects.get(pk=before).ciphertext
    assert save(posted("postmark", keys={"server_token": ""}, remove_keys="on")) == {}
    # Whatever was ever typed for the set is removed, but what is live goes on.
    assert {row.revoked_at is None for row in Secret.objects.all()} == {False}
    assert Secret.objects.get(pk=before).ciphertext
    assert live.current().transport(live.current().configuration.sets[0]).config.password
    assert save(posted("postmark")) == {}
    live.reload()
    assert not Secret.objects.get(pk=before).ciphertext


HIDDEN = {
    "oauth_provider": "nonsense",
    "oauth_flow": "nonsense",
    "oauth_cloud": "nonsense",
    "oauth_tenant": "x" * 999,
    "oauth_client_id": "x" * 999,
    "oauth_client_secret": "x" * 9999,
    "oauth_service_account": "no JSON",
    "oauth_authorize_url": "x" * 9999,
    "oauth_token_url": "x" * 9999,
    "oauth_scope": "x" * 9999,
}


@pytest.mark.parametrize(
    "data",
    [form_data, lambda **values: posted("postmark", **values)],
    ids=["password", "provider"],
)
def test_what_oauth_would_need_doesnt_matter_to_others(save, data):
    """It is hidden then, so nobody could see what is wrong with it."""
    assert save(data(**HIDDEN)) == {}
    assert SettingsSet.objects.get().oauth == {}


def test_what_another_way_of_oauth_needs_doesnt_matter(save):
    names = ("service_account", "authorize_url", "token_url", "scope")
    hidden = {f"oauth_{name}": HIDDEN[f"oauth_{name}"] for name in names}
    assert save(oauth(**hidden, password="x" * 9999)) == {}
    assert secret() == CANARY
    # Of those that count, each is looked at all the same.
    assert set(save(oauth(oauth_tenant="x" * 999))) == {"oauth_tenant"}


def test_a_set_that_no_form_made_keeps_its_keys(save, db):
    """One that a migration or a command made has the model's defaults in the fields of SMTP."""
    item = SettingsSet(name="Office", transport="postmark")
    keys = json.dumps({"server_token": "canary"})
    item.secret = Secret.store(keys, item.frozen(()).binding(), item.key)
    item.save()
    assert save(posted("postmark", keys={"server_token": ""}, timeout="9")) == {}
    assert secret() == keys


def test_a_set_without_its_keys_is_not_asked_for_a_password(save):
    assert save(posted("postmark")) == {}
    assert save(posted("postmark", keys={"server_token": ""}, remove_keys="on")) == {}
    [problem] = live.preview().problems
    assert (
        str(problem) == "Office: A key is missing. Open the set, enter the keys, save and reload."
    )


def test_what_is_not_saved_offers_no_reports(admin_client, save):
    assert save(form_data()) == {}
    item = SettingsSet.objects.get()
    page = reverse("wagtail_smtp_tracking:set", args=[item.pk])
    response = admin_client.post(
        reverse(EDIT, args=[item.pk]), posted("postmark", name="", loaded_revision="1")
    )
    assert response.status_code == 200
    assert page not in response.text


def test_reports_of_what_is_live_are_taken_while_another_provider_is_set_up(save):
    assert save(posted("postmark")) == {}
    item = SettingsSet.objects.get()
    tracking.renew(item, "https://www.example.com/reports/")
    live.reload()
    assert save(posted("brevo")) == {}
    item.refresh_from_db()
    known = tracking.accepted(item.key, "postmark")
    assert known is not None
    tracking.renew(item, "https://www.example.com/reports/")
    assert tracking.accepted(item.key, "postmark") == known
    assert tracking.accepted(item.key, "brevo") not in (None, known)
    # What was made for the same provider is worth nothing at once.
    before = item.webhook_secret
    tracking.renew(item, "https://www.example.com/reports/")
    before.refresh_from_db()
    assert not before.ciphertext


def test_a_provider_that_is_put_back_goes_on_reporting(save, admin_client):
    assert save(posted("postmark")) == {}
    item = SettingsSet.objects.get()
    known = tracking.renew(item, "https://www.example.com/reports/")
    first = live.reload()
    assert save(posted("brevo")) == {}
    item.refresh_from_db()
    tracking.renew(item, "https://www.example.com/reports/")
    live.reload()
    live.make_live(first)
    assert tracking.accepted(item.key, "postmark") == known


def test_the_reload_page_speaks_as_the_form_does(admin_client, save):
    assert save(oauth()) == {}
    page = admin_client.get(reverse("wagtail_smtp_reload:index")).text
    for words in (
        "Identity provider: Microsoft 365",
        "Login method: The site logs in as itself",
        "Microsoft cloud: Worldwide",
        "Directory (tenant) ID: contoso.example",
        "Client ID: c-1",
        "Client secret or key",
    ):
        assert words in page
    live.reload()
    assert save(posted("mailgun")) == {}
    page = admin_client.get(reverse("wagtail_smtp_reload:index")).text
    assert "Region: United States" in page
    assert "api.mailgun.net" not in page
    assert CANARY not in page


def test_a_consent_is_kept_for_the_way_back_and_goes_when_it_is_removed(save):
    assert save(oauth(oauth_flow="consent")) == {}
    item = SettingsSet.objects.get()
    consents.keep(item.frozen(()), Token("access", "refresh", 1.0, 9e9))
    live.reload()
    assert save(posted("postmark")) == {}
    live.reload()
    assert OAuthToken.objects.count() == 1
    assert save(oauth(oauth_flow="consent")) == {}
    assert not consents.is_consent_missing(SettingsSet.objects.get().frozen(()))
    assert save(oauth(oauth_flow="consent", oauth_client_secret="", remove_password="on")) == {}
    assert not OAuthToken.objects.exists()
