"""Consents: out to the identity provider and back, and what must not come of a forged return."""

from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone
from wagtail.models import ModelLogEntry

from tests.support import causes
from tests.support.servers.identity_provider import IdentityProvider
from wagtail_smtp import live
from wagtail_smtp.admin.sets import consent
from wagtail_smtp.exceptions import ReloadOutdated
from wagtail_smtp.live import consents, token_store
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.live.resolve import transport_config
from wagtail_smtp.models import OAuthToken, Secret

BACK = "/admin/email/consent/back/"


@pytest.fixture
def provider():
    with IdentityProvider() as running:
        yield running


@pytest.fixture
def item(make_set, provider):
    made = make_set(
        name="Office",
        ca_certificates="",
        host="smtp.example.com",
        authentication="oauth2",
        oauth=provider.oauth("consent"),
    )
    made.secret = Secret.store(provider.client_secret, made.frozen(()).binding(), made.key)
    made.save()
    return made


def connect_url(item):
    return reverse("wagtail_smtp_consent:connect", args=[item.pk])


def edit_url(item):
    return reverse("wagtailsnippets_wagtail_smtp_settingsset:edit", args=[item.pk])


def begin(client, item):
    response = client.post(connect_url(item))
    assert response.status_code == 302
    return response["Location"]


def come_back(client, url):
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"http://testserver{BACK}"
    return client.get(f"{parts.path}?{parts.query}")


def said(response):
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def is_missing(item):
    return consents.is_consent_missing(item.frozen(()))


def test_a_consent(admin_client, item, provider):
    page = admin_client.get(connect_url(item)).content.decode()
    assert f"http://testserver{BACK}" in page
    assert "smtp.example.com" in page
    url = begin(admin_client, item)
    query = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
    assert url.startswith(f"{provider.url}/authorize?")
    assert query["code_challenge_method"] == "S256"
    assert query["redirect_uri"] == f"http://testserver{BACK}"
    assert provider.client_secret not in url
    response = come_back(admin_client, provider.allow(url))
    assert response["Location"] == edit_url(item)
    assert "is connected" in said(response)
    assert not is_missing(item)
    assert ModelLogEntry.objects.filter(action="wagtail_smtp.consent").count() == 1
    kept = token_store.DatabaseTokenStore(item.frozen(())).load().token
    assert kept.refresh in provider.refresh
    page = admin_client.get(edit_url(item)).content.decode()
    for secret in (kept.access, kept.refresh, provider.client_secret):
        assert secret not in page


def test_with_an_unreadable_client_secret(admin_client, item, provider):
    Secret.objects.update(ciphertext="broken")
    response = admin_client.post(connect_url(item))
    assert response["Location"] == edit_url(item)
    assert "client secret" in said(response)
    assert not provider.asked


def test_it_serves_once(admin_client, item, provider):
    back = provider.allow(begin(admin_client, item))
    come_back(admin_client, back)
    OAuthToken.objects.all().delete()
    response = come_back(admin_client, back)
    assert "This link has expired" in said(response)
    assert is_missing(item)


def test_a_forged_return_does_nothing(admin_client, item, provider):
    """Somebody's link with their own code must not connect the set with their mailbox."""
    begin(admin_client, item)
    response = admin_client.get(BACK, {"code": "theirs", "state": "forged"})
    assert "This link has expired" in said(response)
    assert provider.asked == []
    assert is_missing(item)


def test_another_browser_cant_finish_it(admin_client, make_user, item, provider, client):
    from django.test import Client

    back = provider.allow(begin(admin_client, item))
    other = Client()
    other.force_login(make_user("change_settingsset"))
    response = come_back(other, back)
    assert "This link has expired" in said(response)
    assert provider.asked == []


def test_another_user_in_the_same_browser_cant_finish_it(admin_client, make_user, item, provider):
    back = provider.allow(begin(admin_client, item))
    begun = admin_client.session["wagtail_smtp_consents"]
    admin_client.force_login(make_user("change_settingsset"))
    session = admin_client.session
    session["wagtail_smtp_consents"] = begun
    session.save()
    assert "This link has expired" in said(come_back(admin_client, back))
    assert provider.asked == []


def test_it_is_over_after_a_while(admin_client, item, provider, monkeypatch):
    monkeypatch.setattr(consent, "TIMEOUT", -1)
    back = provider.allow(begin(admin_client, item))
    assert "This link has expired" in said(come_back(admin_client, back))
    assert provider.asked == []


def test_a_set_that_changed_meanwhile(admin_client, item, provider):
    back = provider.allow(begin(admin_client, item))
    item.username = "other@example.com"
    item.save()
    assert "settings have changed" in said(come_back(admin_client, back))
    assert provider.asked == []
    assert is_missing(item)


def test_a_set_that_was_deleted_meanwhile(admin_client, item, provider):
    back = provider.allow(begin(admin_client, item))
    item.delete()
    assert "This link has expired" in said(come_back(admin_client, back))


@pytest.mark.parametrize(
    ("error", "description", "slug"),
    [
        ("access_denied", "The user said no", "oauth-consent-denied"),
        ("consent_required", "AADSTS65001: not consented", "oauth-consent-needed"),
        ("access_denied", "AADSTS90094: ask an admin", "oauth-admin-consent-needed"),
        ("<script>alert(1)</script>", "<script>alert(2)</script>", "oauth-refused"),
    ],
)
def test_the_providers_errors_in_plain_words(
    admin_client, item, provider, error, description, slug
):
    provider.deny = (error, description)
    url = begin(admin_client, item)
    response = come_back(admin_client, provider.allow(url, decision="deny"))
    assert response["Location"] == edit_url(item)
    assert causes.title(slug) in unescape(said(response))
    assert "alert(" not in said(response)
    page = admin_client.get(edit_url(item)).content.decode()
    assert "alert(1)" not in page
    assert is_missing(item)


def test_a_code_that_the_provider_refuses(admin_client, item, provider):
    back = provider.allow(begin(admin_client, item))
    provider.codes.clear()
    response = come_back(admin_client, back)
    assert "invalid_grant" in said(response)
    assert is_missing(item)


def test_pkce_is_checked(admin_client, item, provider):
    back = provider.allow(begin(admin_client, item))
    for form in provider.codes.values():
        form["code_challenge"] = "another"
    come_back(admin_client, back)
    assert is_missing(item)


def test_the_secret_expired_before_consenting(admin_client, item, provider):
    back = provider.allow(begin(admin_client, item))
    provider.refuse = ("invalid_client", "AADSTS7000222: expired")
    assert "The client secret has expired" in said(come_back(admin_client, back))


@pytest.mark.parametrize("method", ["get", "post"])
def test_permissions(client, make_user, item, provider, method):
    client.force_login(make_user("view_settingsset", "reload_application"))
    assert getattr(client, method)(connect_url(item)).status_code in (302, 403)
    client.get(BACK, {"state": "x", "code": "y"})
    assert provider.asked == []
    assert "wagtail_smtp_consents" not in client.session


def test_who_lost_the_permission_meanwhile(client, make_user, item, provider):
    user = make_user("change_settingsset")
    client.force_login(user)
    back = provider.allow(begin(client, item))
    user.user_permissions.remove(*user.user_permissions.filter(codename="change_settingsset"))
    come_back(client, back)
    assert provider.asked == []
    assert is_missing(item)


def test_without_csrf_nothing_begins(item, db):
    from django.contrib.auth.models import User
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("b", "b@example.com", "pw"))
    assert strict.post(connect_url(item)).status_code == 403


def test_sets_that_need_no_consent(admin_client, item, make_set, provider):
    item.oauth = provider.oauth("client")
    item.save()
    response = admin_client.post(connect_url(item))
    assert response.status_code == 200
    assert "without a consent" in response.content.decode()
    password = make_set(name="Password")
    assert admin_client.post(connect_url(password)).status_code == 404


def _live_token():
    """What mail of the live version logs in with."""
    config = live.current().configuration.sets[0]
    return live.current().transport(config).config.tokens.current()


@pytest.fixture
def connected(admin_client, item, provider):
    """The set is live with a consent."""
    come_back(admin_client, provider.allow(begin(admin_client, item)))
    live.reload()
    return item


@pytest.mark.threat(33)
def test_a_consent_never_changes_what_is_live(client, make_user, connected, provider):
    """Somebody who may not reload comes back with a mailbox of their own."""
    before = _live_token()
    client.force_login(make_user("change_settingsset"))
    response = come_back(client, provider.allow(begin(client, connected)))
    assert "not live yet" in said(response)
    assert _live_token() == before
    [change] = live.preview().changes
    assert (change.kind, change.key) == ("changed", str(connected.key))
    live.reload()
    assert _live_token() != before
    assert live.live_version().number == 2
    assert not live.preview().has_changes


def test_a_working_token_is_kept_until_the_reload_for_everybody(admin_client, connected, provider):
    before = _live_token()
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    assert _live_token() == before
    page = admin_client.get(reverse("wagtail_smtp_reload:index")).context
    assert page["plan"].has_changes
    assert "waiting" in admin_client.get("/admin/").content.decode()


def _refuse(item):
    rows = OAuthToken.objects.filter(owner=item.key)
    rows.update(refused_at=timezone.now(), expires_at=timezone.now())


def test_a_token_that_was_refused_is_replaced_by_those_who_may_reload(
    admin_client, connected, provider
):
    before = _live_token()
    _refuse(connected)
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    assert _live_token() != before
    assert not live.preview().has_changes


def test_a_token_that_was_refused_is_not_replaced_by_others(client, make_user, connected, provider):
    _refuse(connected)
    client.force_login(make_user("change_settingsset"))
    come_back(client, provider.allow(begin(client, connected)))
    assert live.preview().has_changes
    live.reload()
    assert OAuthToken.objects.get().refused_at is None


def test_a_test_uses_the_consent_that_waits(admin_client, connected, provider):
    live_token = _live_token()
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    config = connected.frozen(())
    tried = transport_config(config, connected.secret, is_test=True).tokens.current()
    assert tried != live_token
    live.reload()
    assert _live_token() == tried


def test_another_consent_after_the_reload_was_confirmed(admin_client, connected, provider):
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    token = live.preview().token
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    with pytest.raises(ReloadOutdated):
        live.reload(token=token)


def test_a_consent_waits_for_its_own_set_alone(admin_client, connected, make_set, provider):
    """A copy has the same binding, and so the same fingerprint."""
    copied = make_set(
        name="Copy",
        ca_certificates="",
        host="smtp.example.com",
        authentication="oauth2",
        oauth=connected.oauth,
    )
    copied.secret = Secret.store(provider.client_secret, copied.frozen(()).binding(), copied.key)
    copied.save()
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    come_back(admin_client, provider.allow(begin(admin_client, copied)))
    assert list(consents.waiting(live.preview().target.sets)) == [str(connected.key)]
    type(connected).objects.filter(pk=connected.pk).update(enabled=False)
    assert consents.waiting(live.preview().target.sets) == {}
    live.reload()
    assert live.live_version().number == 2
    # It is not live any more, so its new consent has nothing to wait for.
    marks = OAuthToken.objects.filter(owner=connected.key).values_list("fingerprint", flat=True)
    assert list(marks) == [token_store.fingerprint(connected.frozen(()))]


def test_a_third_consent_is_not_undone_by_what_a_test_knew(admin_client, connected, provider):
    config = connected.frozen(())

    def tried():
        secret = Secret.objects.get(pk=connected.secret_id)
        return transport_config(config, secret, is_test=True).tokens.current()

    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    OAuthToken.objects.filter(fingerprint=token_store.fingerprint(config, waiting=True)).update(
        number=9
    )
    second = tried()
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    third = tried()
    assert third != second
    live.reload()
    assert _live_token() == third


def test_removing_the_consent_removes_the_one_that_waits(admin_client, connected, provider):
    come_back(admin_client, provider.allow(begin(admin_client, connected)))
    revoke(connected.key)
    assert not live.preview().has_changes
    assert OAuthToken.objects.count() == 1  # what is live works until the reload


def test_only_some_are_remembered(admin_client, item):
    for _ in range(8):
        begin(admin_client, item)
    assert len(admin_client.session["wagtail_smtp_consents"]) == 5
