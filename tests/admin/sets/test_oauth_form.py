"""OAuth 2 in the form of a set: what is asked for, what is never shown."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.conftest import form_data
from tests.admin.sets import test_error_mail
from wagtail_smtp.admin.sets.form import SettingsSetForm
from wagtail_smtp.config import oauth
from wagtail_smtp.models import OAuthToken, Secret, SettingsSet

ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
LIST = "wagtailsnippets_wagtail_smtp_settingsset:list"
COPY = "wagtailsnippets_wagtail_smtp_settingsset:copy"
CANARY = "canary-77aa-of-the-client"

MICROSOFT = {
    "authentication": "oauth2",
    "password": "",
    "oauth_provider": "microsoft",
    "oauth_flow": "client",
    "oauth_cloud": "global",
    "oauth_tenant": "contoso.example",
    "oauth_client_id": "c-1",
    "oauth_client_secret": CANARY,
}
error_mails = test_error_mail.error_mails


@pytest.fixture(scope="module")
def key_file():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "private_key_id": "canary-of-the-key",
        "private_key": pem.decode(),
        "client_email": "mailer@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    }


def post(client, url, **values):
    return client.post(url, form_data(**(MICROSOFT | values)))


def stored():
    return SettingsSet.objects.get(name="Office")


def test_a_set_with_microsoft(admin_client):
    assert post(admin_client, reverse(ADD)).status_code == 302
    item = stored()
    assert item.oauth == {
        "provider": "microsoft",
        "flow": "client",
        "cloud": "global",
        "tenant": "contoso.example",
        "client_id": "c-1",
    }
    assert item.secret.reveal(item.frozen(()).binding()) == CANARY
    page = admin_client.get(reverse(EDIT, args=[item.pk])).content.decode()
    assert CANARY not in page
    assert 'value="contoso.example"' in page
    assert "http://testserver/admin/email/consent/back/" in page


def test_a_password_set_says_nothing_of_oauth(admin_client, make_set):
    item = make_set(name="Office", ca_certificates="", host="smtp.example.com")
    values = form_data(loaded_revision="0", password="", username="user@example.com", timeout="9")
    more = {"oauth_provider": "microsoft", "oauth_flow": "client", "oauth_cloud": "global"}
    assert admin_client.post(reverse(EDIT, args=[item.pk]), values | more).status_code == 302
    assert stored().oauth == {}
    entry = ModelLogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(SettingsSet), action="wagtail.edit"
    ).get()
    assert entry.data["fields"] == ["Timeout"]


def test_from_password_to_oauth_and_back(admin_client, make_set):
    item = make_set(name="Office", ca_certificates="", host="smtp.example.com")
    url = reverse(EDIT, args=[item.pk])
    response = post(admin_client, url, loaded_revision="0", oauth_client_secret="")
    assert "Enter the client secret." in response.content.decode()
    assert post(admin_client, url, loaded_revision="0").status_code == 302
    assert stored().authentication == "oauth2"
    response = admin_client.post(url, form_data(loaded_revision="1", password=""))
    assert "Enter the password." in response.content.decode()
    assert admin_client.post(url, form_data(loaded_revision="1")).status_code == 302
    assert (stored().authentication, stored().oauth) == ("password", {})


@pytest.mark.parametrize(
    "change",
    [
        {"oauth_tenant": "evil.example"},
        {"oauth_client_id": "c-2"},
        {"oauth_cloud": "us"},
        {"oauth_flow": "consent"},
        {"host": "smtp.evil.example"},
        {"username": "other@example.com"},
        {"oauth_provider": "other", "oauth_token_url": "https://evil.example/token"},
    ],
)
def test_the_secret_is_asked_for_again(admin_client, change):
    post(admin_client, reverse(ADD))
    url = reverse(EDIT, args=[stored().pk])
    values = {"oauth_client_secret": "", "loaded_revision": "1"} | change
    response = post(admin_client, url, **values)
    assert response.status_code == 200
    assert "Enter it again" in response.content.decode()
    assert post(admin_client, url, **(values | {"oauth_client_secret": "n"})).status_code == 302


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"oauth_tenant": ""}, "oauth_tenant"),
        ({"oauth_tenant": "a/../b"}, "oauth_tenant"),
        ({"oauth_client_id": ""}, "oauth_client_id"),
        ({"oauth_client_secret": ""}, "oauth_client_secret"),
        ({"oauth_flow": "service_account"}, "oauth_flow"),
        ({"oauth_provider": "other", "oauth_token_url": "http://login.example.com/t"},
         "oauth_token_url"),
        ({"oauth_provider": "google", "oauth_flow": "service_account"}, "oauth_service_account"),
        ({"encryption": "none"}, "encryption"),
        ({"username": ""}, "username"),
    ],
)  # fmt: skip
def test_mistakes_stand_at_their_fields(admin_client, values, field):
    response = post(admin_client, reverse(ADD), **values)
    assert response.status_code == 200
    assert field in response.context["form"].errors
    assert CANARY not in response.content.decode()


GOOGLE = {
    "oauth_provider": "google",
    "oauth_flow": "service_account",
    "oauth_client_secret": "",
    "oauth_client_id": "",
}


def test_a_service_account(admin_client, key_file):
    values = GOOGLE | {"oauth_service_account": json.dumps(key_file | {"more": "x"})}
    assert post(admin_client, reverse(ADD), **values).status_code == 302
    item = stored()
    kept = json.loads(item.secret.reveal(item.frozen(()).binding()))
    assert kept["private_key"] == key_file["private_key"]
    assert "more" not in kept
    page = admin_client.get(reverse(EDIT, args=[item.pk])).content.decode()
    assert "canary-of-the-key" not in page


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_uri": "https://evil.example/token"},
        {"universe_domain": "evil.example"},
        {"type": "authorized_user"},
        {"private_key": "-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n"},
        {"client_email": ""},
    ],
)
def test_what_is_no_service_account(admin_client, key_file, wrong):
    values = GOOGLE | {"oauth_service_account": json.dumps(key_file | wrong)}
    response = post(admin_client, reverse(ADD), **values)
    assert response.status_code == 200
    assert "oauth_service_account" in response.context["form"].errors
    assert "canary-of-the-key" not in response.content.decode()


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"x"', '{"private_key": 1}'])
def test_what_is_no_key_at_all(admin_client, text):
    response = post(admin_client, reverse(ADD), **(GOOGLE | {"oauth_service_account": text}))
    assert "oauth_service_account" in response.context["form"].errors


def test_a_copy_has_neither_secret_nor_token(admin_client):
    post(admin_client, reverse(ADD), oauth_flow="consent")
    item = stored()
    OAuthToken.objects.create(owner=item.key, fingerprint="f", ciphertext="c")
    page = admin_client.get(reverse(COPY, args=[item.pk]))
    assert 'value="contoso.example"' in page.content.decode()
    response = post(
        admin_client,
        reverse(COPY, args=[item.pk]),
        name="Copy",
        oauth_flow="consent",
        oauth_client_secret="",
    )
    assert "oauth_client_secret" in response.context["form"].errors
    assert OAuthToken.objects.count() == 1


def test_deleting_the_set_deletes_its_token(admin_client):
    post(admin_client, reverse(ADD), oauth_flow="consent")
    item = stored()
    OAuthToken.objects.create(owner=item.key, fingerprint="f", ciphertext="c")
    delete = reverse("wagtailsnippets_wagtail_smtp_settingsset:delete", args=[item.pk])
    admin_client.post(delete)
    assert OAuthToken.objects.count() == 0


def test_a_refused_token_is_in_listing_and_page(admin_client, make_set):
    from django.utils import timezone

    from wagtail_smtp.live import token_store

    post(admin_client, reverse(ADD), oauth_flow="consent")
    item = stored()
    OAuthToken.objects.create(
        owner=item.key,
        fingerprint=token_store.fingerprint(item.frozen(())),
        ciphertext="c",
        refused_at=timezone.now(),
        refusal={"reason": "secret-expired", "message": "m", "reply": "<b>AADSTS7000222</b>"},
    )
    listing = admin_client.get(reverse(LIST)).content.decode()
    assert "The client secret has expired" in listing
    page = admin_client.get(reverse(EDIT, args=[item.pk])).content.decode()
    assert "The client secret has expired" in page
    assert "&lt;b&gt;AADSTS7000222" in page
    # A new secret is tried.
    values = {"oauth_flow": "consent", "loaded_revision": "1", "oauth_client_secret": "new"}
    assert post(admin_client, reverse(EDIT, args=[item.pk]), **values).status_code == 302
    assert OAuthToken.objects.get().refused_at is None


#: What a save runs through while the client secret or key is at hand.
BROKEN = {
    "Secret.store": Secret,
    "SettingsSet.save": SettingsSet,
    "SettingsSet.frozen": SettingsSet,
    "SettingsSetForm.clean": SettingsSetForm,
    "SettingsSetForm.oauth_values": SettingsSetForm,
    "SettingsSetForm.typed_secret": SettingsSetForm,
    "SettingsSetForm.clean_oauth_service_account": SettingsSetForm,
    "SettingsSetForm._ask_for": SettingsSetForm,
    "oauth.problems": oauth,
}


@pytest.mark.parametrize("kind", ["secret", "key"])
@pytest.mark.parametrize("broken", BROKEN)
def test_the_mail_to_admins_has_no_secret(
    admin_client, error_mails, monkeypatch, key_file, broken, kind
):
    values = MICROSOFT
    if kind == "key":
        values = values | GOOGLE | {"oauth_service_account": json.dumps(key_file)}
    if broken == "SettingsSetForm._ask_for":
        # Typed in the field that isn't meant.
        values = values | {"oauth_flow": "client" if kind == "key" else "service_account"}
        values |= {"oauth_provider": "microsoft" if kind == "key" else "google"}

    def fail(*args, **kwargs):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(BROKEN[broken], broken.partition(".")[2], fail)
    admin_client.raise_request_exception = False
    response = admin_client.post(reverse(ADD), form_data(**values))
    assert response.status_code == 500
    written = [
        part
        for message in error_mails
        for part in (message.body, *(body for body, _kind in message.alternatives))
    ]
    assert len(written) >= 3
    assert all("the disk is full" in part for part in written)
    for canary in (CANARY, "canary-of-the-key"):
        assert not any(canary in part for part in written)
