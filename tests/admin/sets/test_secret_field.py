"""Secrets from variables and files in the form of a set."""

import json
import re

import pytest
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.conftest import form_data
from tests.admin.connection_check.test_views import NEW, TYPED, lines, stored_data, typed
from tests.admin.sets.test_esp_form import posted
from tests.admin.sets.test_oauth_form import GOOGLE, MICROSOFT, key_file
from tests.support.servers.hostile import HostileServer
from wagtail_smtp import live
from wagtail_smtp.models import ReferenceUse, Secret, SettingsSet

__all__ = ["key_file"]

PREFIX = "wagtailsnippets_wagtail_smtp_settingsset"
ADD, EDIT, COPY = f"{PREFIX}:add", f"{PREFIX}:edit", f"{PREFIX}:copy"
CANARY = "c4nary-in-the-mine"
FROM_VARIABLE = {"password": "", "password_source": "env", "password_name": "SMTP_PASSWORD"}


@pytest.fixture(autouse=True)
def variable(monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", CANARY)


@pytest.fixture
def secret_file(tmp_path, configure):
    configure(SECRET_DIRECTORIES=[tmp_path])
    path = tmp_path / "smtp"
    path.write_text(CANARY)
    return path


def _save(client, data, item=None):
    """The errors of the form; empty if it was saved."""
    item = item or SettingsSet.objects.first()
    url = reverse(EDIT, args=[item.pk]) if item else reverse(ADD)
    data |= {"loaded_revision": str(item.revision if item else 0)}
    response = client.post(url, data)
    assert CANARY not in response.text
    return {} if response.status_code == 302 else dict(response.context["form"].errors)


def _saved():
    """What the set's secret contains."""
    item = SettingsSet.objects.get()
    return item.secret and item.secret.content(item.frozen(()).binding())


def test_a_variable_is_saved_and_shown(admin_client):
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    content = _saved()
    assert (content.text, content.references) == (
        "env:SMTP_PASSWORD",
        {"password": "env:SMTP_PASSWORD"},
    )
    page = admin_client.get(reverse(EDIT, args=[SettingsSet.objects.get().pk])).text
    assert re.search(r'<option value="env" selected>', page)
    assert 'value="SMTP_PASSWORD"' in page
    assert CANARY not in page
    live.reload()
    current = live.current()
    assert current.transport(current.configuration.sets[0]).config.password == CANARY
    # Nothing changed, so there is no new secret and nothing to reload.
    before = SettingsSet.objects.get().secret_id
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    assert SettingsSet.objects.get().secret_id == before
    assert not live.preview().changes


def test_a_file_is_offered_only_where_the_project_allows_it(admin_client, secret_file):
    page = admin_client.get(reverse(ADD)).text
    assert 'value="file"' in page
    assert str(secret_file.parent) in page
    data = {"password": "", "password_source": "file", "password_name": str(secret_file)}
    assert _save(admin_client, form_data(**data)) == {}
    assert _saved().text == f"file:{secret_file}"


def test_without_directories_there_is_no_file(admin_client, configure):
    page = admin_client.get(reverse(ADD)).text
    assert 'value="env"' in page
    assert 'value="file"' not in page
    assert "SMTP_*" in page
    configure(SECRET_VARIABLES=[])
    assert "password_source" not in admin_client.get(reverse(ADD)).text
    assert _save(admin_client, form_data()) == {}
    assert _saved().text == "canary-5f1e"


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("env", "", "Enter the variable"),
        ("env", "DATABASE_URL", "SMTP_*"),
        ("env", "SMTP PASSWORD", "only the variable"),
        ("file", "", "Enter the file"),
        ("file", "/etc/passwd", "SECRET_DIRECTORIES"),
        ("file", "secrets/smtp", "whole path"),
    ],
)
def test_what_is_not_allowed_is_an_error_and_stays_typed(admin_client, source, name, text):
    data = form_data(password="typed", password_source=source, password_name=name)
    response = admin_client.post(reverse(ADD), data)
    [error] = response.context["form"].errors["password"]
    assert text in error
    assert not Secret.objects.exists()
    assert f'value="{name}"' in response.text
    assert re.search(rf'<option value="{source}" selected>', response.text)
    assert "typed" not in re.findall(r'value="([^"]*)"', response.text)


def test_an_unknown_source_is_a_typed_password(admin_client):
    assert _save(admin_client, form_data(password_source="vault", password_name="x")) == {}
    assert _saved().text == "canary-5f1e"


def test_the_help_of_a_variable_is_not_that_of_a_stored_password(admin_client):
    _save(admin_client, form_data(**FROM_VARIABLE))
    page = admin_client.get(reverse(EDIT, args=[SettingsSet.objects.get().pk])).text
    assert "For another server or login, use another variable or file." in page
    assert "Leave empty to keep the saved password" not in page


def test_from_a_variable_to_a_typed_password_and_back(admin_client):
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    # Otherwise the variable would stay, although the form says something else.
    assert set(_save(admin_client, form_data(password=""))) == {"password"}
    assert _save(admin_client, form_data(password="typed")) == {}
    assert (_saved().text, _saved().references) == ("typed", {})
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    assert _saved().references
    assert _save(admin_client, form_data(**FROM_VARIABLE, remove_password="on")) == {}
    assert _saved() is None
    assert not Secret.objects.exclude(ciphertext="").exists()


def test_a_missing_variable_is_said_but_can_be_saved(admin_client, monkeypatch):
    monkeypatch.delenv("SMTP_PASSWORD")
    response = admin_client.post(reverse(ADD), form_data(**FROM_VARIABLE), follow=True)
    assert "SMTP_PASSWORD is missing in this process" in response.text
    page = admin_client.get(reverse(EDIT, args=[SettingsSet.objects.get().pk])).text
    assert "SMTP_PASSWORD is missing in this process" in page
    assert "SMTP_PASSWORD is missing" in admin_client.get(reverse("wagtail_smtp_reload:index")).text


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example.net"},
        {"port": "465"},
        {"encryption": "ssl"},
        {"username": "other@example.com"},
    ],
)
def test_a_live_variable_goes_to_no_other_destination(admin_client, change):
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    live.reload()
    errors = _save(admin_client, form_data(**FROM_VARIABLE, **change))
    [text] = errors["password"]
    assert "smtp.example.com:587" in text
    # Nor with another set, nor after this one was deleted.
    data = form_data(name="Evil", **FROM_VARIABLE, **change)
    assert "password" in admin_client.post(reverse(ADD), data).context["form"].errors
    admin_client.post(reverse(f"{PREFIX}:delete", args=[SettingsSet.objects.get().pk]))
    assert "password" in admin_client.post(reverse(ADD), data).context["form"].errors
    assert not SettingsSet.objects.exists()


def test_before_the_reload_the_same_person_may_correct_the_host(admin_client, client, make_user):
    assert _save(admin_client, form_data(**FROM_VARIABLE, host="smtp.typo.example.com")) == {}
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    client.force_login(make_user("change_settingsset", name="other"))
    errors = _save(client, form_data(**FROM_VARIABLE, host="evil.example.net"))
    assert set(errors) == {"password"}
    # What doesn't concern the destination can be changed by everyone.
    assert _save(client, form_data(**FROM_VARIABLE, sender_name="Shop")) == {}


def test_a_copy_has_no_secret(admin_client):
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    page = admin_client.get(reverse(COPY, args=[SettingsSet.objects.get().pk])).text
    assert 'value="SMTP_PASSWORD"' not in page


def test_a_providers_key(admin_client, monkeypatch):
    monkeypatch.setenv("SMTP_TOKEN", "the-key")
    field = "provider_postmark_server_token"
    data = {f"{field}_source": "env", f"{field}_name": "SMTP_TOKEN"}
    keys = {"server_token": ""}
    assert _save(admin_client, posted("postmark", keys=keys, **data)) == {}
    assert json.loads(_saved().text) == {"server_token": "env:SMTP_TOKEN"}
    page = admin_client.get(reverse(EDIT, args=[SettingsSet.objects.get().pk])).text
    assert page.count('value="SMTP_TOKEN"') == 1
    live.reload()
    errors = _save(admin_client, posted("brevo", keys={"api_key": ""}))
    assert set(errors) == {"provider_brevo_api_key"}
    field = "provider_brevo_api_key"
    data = {f"{field}_source": "env", f"{field}_name": "SMTP_TOKEN"}
    [text] = _save(admin_client, posted("brevo", keys={"api_key": ""}, **data))[field]
    assert "Postmark" in text


def test_a_client_secret(admin_client, monkeypatch):
    monkeypatch.setenv("SMTP_CLIENT", CANARY)
    values = MICROSOFT | {
        "oauth_client_secret": "",
        "oauth_client_secret_source": "env",
        "oauth_client_secret_name": "SMTP_CLIENT",
    }
    assert _save(admin_client, form_data(**values)) == {}
    live.reload()
    assert (
        'value="SMTP_CLIENT"'
        in admin_client.get(reverse(EDIT, args=[SettingsSet.objects.get().pk])).text
    )
    [text] = _save(admin_client, form_data(**values, host="evil.example.net"))[
        "oauth_client_secret"
    ]
    assert "login.microsoftonline.com" in text
    assert set(_save(admin_client, form_data(**values | {"oauth_tenant": "evil.example"})))


def test_a_key_file(admin_client, secret_file, key_file):
    secret_file.write_text(json.dumps(key_file))
    values = GOOGLE | {
        "oauth_service_account": "",
        "oauth_service_account_source": "file",
        "oauth_service_account_name": str(secret_file),
    }
    assert _save(admin_client, form_data(**(MICROSOFT | values))) == {}
    live.reload()
    secret_file.write_text("{}")
    [problem] = live.preview().problems
    assert "not a service account key" in str(problem)
    secret_file.write_text(json.dumps(key_file | {"token_uri": "https://evil.example/token"}))
    [problem] = live.preview().problems
    assert "not Google's" in str(problem)


# Tests from the form and of stored sets


def test_a_test_uses_the_variable_and_says_so(admin_client, monkeypatch):
    with HostileServer() as server:
        monkeypatch.setenv("SMTP_PASSWORD", server.password)
        *_stages, end = lines(admin_client.post(reverse(NEW), typed(server, **FROM_VARIABLE)))
        assert server.logins == [(server.username, server.password)]
    assert end["ok"]
    assert end["notes"] == [
        "Tested with the password or key from the environment variable SMTP_PASSWORD."
    ]
    assert not Secret.objects.exists()
    [entry] = ModelLogEntry.objects.filter(action="wagtail_smtp.test_connection")
    assert entry.data["references"] == ["env:SMTP_PASSWORD"]
    assert "SMTP_PASSWORD" in entry.message


def test_a_missing_variable_is_not_tested(admin_client, monkeypatch):
    monkeypatch.delenv("SMTP_PASSWORD")
    with HostileServer() as server:
        [line] = lines(admin_client.post(reverse(NEW), typed(server, **FROM_VARIABLE)))
        assert server.connections == 0
    assert "SMTP_PASSWORD is missing" in line["text"]


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_test_leaks_nothing_to_another_server(admin_client, make_set, is_stored):
    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    live.reload()
    with HostileServer() as server:
        url, data = reverse(NEW), typed(server, name="Evil", **FROM_VARIABLE)
        if is_stored:
            item = SettingsSet.objects.get()
            url = reverse(TYPED, args=[item.pk])
            data = stored_data(item, **FROM_VARIABLE, host=server.host, port=str(server.port))
        response = admin_client.post(url, data)
        [line] = lines(response)
        assert server.connections == 0
    assert (response.status_code, list(line["errors"])) == (422, ["password"])


def test_a_stored_set_is_not_tested_where_its_variable_does_not_belong(
    admin_client, make_set, client, make_user
):
    """As in a set that was saved before, and then another one went live with the variable."""
    with HostileServer() as server:
        data = typed(server, name="First", **FROM_VARIABLE)
        del data["enabled"]
        assert _save(admin_client, data) == {}
        admin_client.post(reverse(ADD), form_data(name="Second", **FROM_VARIABLE))
        live.reload()
        first = SettingsSet.objects.get(name="First")
        url = reverse(f"{PREFIX}:test_connection", args=[first.pk])
        [line] = lines(admin_client.post(url))
        assert "smtp.example.com:587" in line["text"]
        assert server.connections == 0


def test_a_test_counts_as_the_first_use(admin_client, client, make_user):
    with HostileServer() as server:
        admin_client.post(reverse(NEW), typed(server, **FROM_VARIABLE))
    assert ReferenceUse.objects.get().server == f"127.0.0.1:{server.port}"
    client.force_login(make_user("add_settingsset", name="other"))
    response = client.post(reverse(ADD), form_data(**FROM_VARIABLE))
    assert set(response.context["form"].errors) == {"password"}


def test_the_listing_says_which_kind_of_secret_cannot_be_used(
    admin_client, monkeypatch, secret_file
):
    def listed():
        page = admin_client.get(reverse(f"{PREFIX}:list")).content.decode()
        kinds = ("Variable unreadable", "File unreadable", "Secret unreadable", "Secret missing")
        return [kind for kind in kinds if kind in page]

    assert _save(admin_client, form_data(**FROM_VARIABLE)) == {}
    assert listed() == []
    monkeypatch.delenv("SMTP_PASSWORD")
    assert listed() == ["Variable unreadable"]
    from_file = {"password": "", "password_source": "file", "password_name": str(secret_file)}
    assert _save(admin_client, form_data(**from_file)) == {}
    secret_file.unlink()
    assert listed() == ["File unreadable"]
    assert _save(admin_client, form_data(password="typed")) == {}
    Secret.objects.update(ciphertext="broken")
    assert listed() == ["Secret unreadable"]
    SettingsSet.objects.update(secret=None)
    assert listed() == ["Secret missing"]
