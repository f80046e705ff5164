"""The form of a set that sends through a provider: its own fields, its keys write-only."""

import json
import re
import sys

import pytest
from django.urls import reverse

from tests.admin.conftest import form_data
from tests.support.servers.provider_server import CANARY, PROVIDERS, Answer, ProviderServer
from wagtail_smtp import live
from wagtail_smtp.admin.sets.esp_form import SECRET_FIELDS
from wagtail_smtp.models import LogEntry, Secret, SettingsSet
from wagtail_smtp.transports.esp import catalog

PREFIX = "wagtailsnippets_wagtail_smtp_settingsset"
ADD, EDIT, LIST = f"{PREFIX}:add", f"{PREFIX}:edit", f"{PREFIX}:list"

every_provider = pytest.mark.parametrize("slug", PROVIDERS)


def posted(slug, *, keys=None, **values):
    """What a browser posts for a provider; the fields of SMTP are there all the same."""
    known = PROVIDERS[slug]
    own = {f"provider_{slug}_{name}": value for name, value in known.options.items()}
    typed = known.keys if keys is None else keys
    own |= {f"provider_{slug}_{name}": value for name, value in typed.items()}
    left = {"host": "", "username": "", "password": ""}
    return form_data(**{"transport": slug, **left, **own, **values})


def errors(response):
    assert response.status_code == 200
    return response.context["form"].errors


def test_the_table_is_what_anymail_has():
    """No provider is missing, and each is given every option that its backend reads."""
    from pathlib import Path

    import anymail.backends

    folder = Path(anymail.backends.__file__).parent
    others = {"__init__", "base", "base_requests", "console", "test", "sendinblue"}
    assert {path.stem for path in folder.glob("*.py")} - others == set(catalog.PROVIDERS)
    for slug, provider in catalog.PROVIDERS.items():
        read = set(
            re.findall(r"get_anymail_setting\(\s*\"(\w+)\"", (folder / f"{slug}.py").read_text())
        )
        given = {option.name for option in provider.options} | set(provider.fixed)
        assert read - given <= {"api_url", "session_params", "client_params"}
        assert provider.is_installed


@every_provider
def test_a_set_of_each_kind(admin_client, slug):
    admin_client.post(reverse(ADD), posted(slug))
    [item] = SettingsSet.objects.all()
    assert (item.transport, item.provider) == (slug, PROVIDERS[slug].options)
    assert (item.host, item.authentication, item.username) == ("", "none", "")
    assert json.loads(item.secret.reveal(item.frozen(()).binding())) == PROVIDERS[slug].keys
    assert live.reload() is not None
    assert live.current().transport(live.current().configuration.sets[0]).name == "Office"
    page = admin_client.get(reverse(LIST)).content.decode()
    assert str(catalog.PROVIDERS[slug].label) in page


@pytest.mark.threat(7)
@every_provider
def test_the_key_is_on_no_page(admin_client, slug):
    admin_client.post(reverse(ADD), posted(slug))
    item = SettingsSet.objects.get()
    live.reload()
    for url in (
        reverse(EDIT, args=[item.pk]),
        reverse(f"{PREFIX}:copy", args=[item.pk]),
        reverse(LIST),
        reverse("wagtail_smtp_reload:index"),
        reverse("wagtail_smtp_versions:index"),
    ):
        assert CANARY not in admin_client.get(url).content.decode()
    response = admin_client.post(
        reverse(EDIT, args=[item.pk]), posted(slug, name="", loaded_revision=str(item.revision))
    )
    assert "name" in errors(response)
    assert CANARY not in response.content.decode()
    assert CANARY not in json.dumps(live.current().configuration.to_json())
    assert CANARY not in repr(live.current().transport(live.current().configuration.sets[0]).config)


@every_provider
def test_what_it_needs_is_asked_for_at_its_field(admin_client, slug):
    found = errors(admin_client.post(reverse(ADD), form_data(transport=slug)))
    wanted = {
        catalog.field_name(slug, option.name)
        for option in catalog.PROVIDERS[slug].options
        if option.is_required and not option.default
    }
    assert set(found) == wanted
    assert not SettingsSet.objects.exists()


def test_fields_of_other_transports_dont_matter(admin_client):
    """As without JavaScript, where all of them are there."""
    wrong = {
        "port": "nonsense",
        "encryption": "nonsense",
        "host": "not a host",
        "provider_mailgun_api_url": "nonsense",
        "provider_mailgun_sender_domain": "x" * 999,
    }
    admin_client.post(reverse(ADD), posted("postmark", **wrong))
    [item] = SettingsSet.objects.all()
    assert (item.host, item.port, item.encryption) == ("", 587, "starttls")
    assert item.provider == {}


def test_smtp_doesnt_look_at_providers_fields(admin_client):
    admin_client.post(
        reverse(ADD),
        form_data(
            transport="smtp", provider_mailgun_api_url="nonsense", provider_postal_api_url="x"
        ),
    )
    [item] = SettingsSet.objects.all()
    assert (item.transport, item.provider, item.host) == ("smtp", {}, "smtp.example.com")


@pytest.mark.parametrize("key", ["  spaced  ", "\tkey\n"])
def test_white_space_around_a_key_is_trimmed(admin_client, key):
    admin_client.post(reverse(ADD), posted("brevo", keys={"api_key": key}))
    item = SettingsSet.objects.get()
    revealed = json.loads(item.secret.reveal(item.frozen(()).binding()))
    assert revealed == {"api_key": key.strip()}


@pytest.mark.parametrize("key", ["", "   ", "two words", "ключ", "a\x00b"])
def test_what_is_no_key(admin_client, key):
    response = admin_client.post(reverse(ADD), posted("brevo", keys={"api_key": key}))
    assert set(errors(response)) == {"provider_brevo_api_key"}


@pytest.mark.parametrize(
    ("slug", "values"),
    [
        ("postal", {"api_url": "postal.example.com"}),
        ("postal", {"api_url": "http://postal.example.com"}),
        ("postal", {"api_url": "https://me:secret@postal.example.com"}),
        ("postal", {"api_url": "https://postal.example.com/?to=x"}),
        ("postal", {"api_url": "ftp://postal.example.com"}),
        ("postal", {"api_url": "https://postal.example.com:99999"}),
        ("unisender_go", {"api_url": "javascript:alert(1)"}),
        ("mailgun", {"api_url": "https://evil.example.com/v3"}),
        ("mailgun", {"sender_domain": "not a domain"}),
        ("amazon_ses", {"region_name": "evil.example.com/"}),
        ("amazon_ses", {"aws_access_key_id": "with space"}),
        ("scaleway", {"region": "../../evil"}),
        ("mailtrap", {"sandbox_id": "1/../.."}),
    ],
)
def test_bad_options_are_errors_at_their_field(admin_client, slug, values):
    own = {f"provider_{slug}_{name}": value for name, value in values.items()}
    found = errors(admin_client.post(reverse(ADD), posted(slug, **own)))
    assert set(found) == set(own)


def test_this_machine_may_do_without_tls(admin_client):
    admin_client.post(
        reverse(ADD), posted("postal", provider_postal_api_url="http://localhost:5000")
    )
    assert SettingsSet.objects.get().provider == {"api_url": "http://localhost:5000"}


def _edit(client, item, slug, **values):
    values = {"loaded_revision": str(item.revision)} | values
    return client.post(reverse(EDIT, args=[item.pk]), posted(slug, **values))


def test_an_empty_key_keeps_the_stored_one(admin_client):
    admin_client.post(reverse(ADD), posted("mailgun"))
    item = SettingsSet.objects.get()
    # The sending domain says neither where the key goes nor whose it is.
    _edit(
        admin_client,
        item,
        "mailgun",
        keys={},
        name="Other",
        provider_mailgun_sender_domain="mg.example.com",
    )
    again = SettingsSet.objects.get()
    assert (again.name, again.secret_id) == ("Other", item.secret_id)
    assert json.loads(again.secret.reveal(again.frozen(()).binding())) == {"api_key": CANARY}


@pytest.mark.threat(9)
@pytest.mark.parametrize(
    ("slug", "change"),
    [
        ("mailgun", {"provider_mailgun_api_url": "https://api.eu.mailgun.net/v3"}),
        ("postal", {"provider_postal_api_url": "https://evil.example.com"}),
        ("postal", {"ca_certificates": "PEM"}),
        ("amazon_ses", {"provider_amazon_ses_region_name": "eu-central-1"}),
        ("amazon_ses", {"provider_amazon_ses_aws_access_key_id": "AKIAOTHER"}),
        ("scaleway", {"provider_scaleway_project_id": "other"}),
        ("mailjet", {"provider_mailjet_api_key": "other"}),
    ],
)
def test_another_destination_asks_for_the_key_again(admin_client, slug, change):
    from tests.support.servers.smtp_server import CA_PEM

    admin_client.post(reverse(ADD), posted(slug))
    item = SettingsSet.objects.get()
    change = {k: CA_PEM if v == "PEM" else v for k, v in change.items()}
    found = errors(_edit(admin_client, item, slug, keys={}, **change))
    assert set(found) == {f"provider_{slug}_{name}" for name in PROVIDERS[slug].keys}
    _edit(admin_client, item, slug, **change)
    assert SettingsSet.objects.get().secret_id != item.secret_id


def test_another_provider_asks_for_its_key(admin_client):
    admin_client.post(reverse(ADD), posted("brevo"))
    item = SettingsSet.objects.get()
    assert set(errors(_edit(admin_client, item, "resend", keys={}))) == {"provider_resend_api_key"}


def test_from_smtp_to_a_provider_and_back(admin_client, make_set):
    item = make_set(ca_certificates="", name="Office")
    found = errors(_edit(admin_client, item, "resend", keys={}))
    assert set(found) == {"provider_resend_api_key"}
    _edit(admin_client, item, "resend")
    item = SettingsSet.objects.get()
    assert item.transport == "resend"
    back = form_data(transport="smtp", loaded_revision=str(item.revision), password="")
    assert set(errors(admin_client.post(reverse(EDIT, args=[item.pk]), back))) == {"password"}
    admin_client.post(reverse(EDIT, args=[item.pk]), back | {"password": "new"})
    item = SettingsSet.objects.get()
    assert (item.transport, item.provider) == ("smtp", {})
    assert item.secret.reveal(item.frozen(()).binding()) == "new"


def test_removing_the_key_revokes_it(admin_client):
    admin_client.post(reverse(ADD), posted("brevo"))
    item = SettingsSet.objects.get()
    _edit(admin_client, item, "brevo", keys={}, remove_keys="on")
    assert SettingsSet.objects.get().secret_id is None
    assert Secret.objects.get().ciphertext == ""
    with pytest.raises(live.reload.__globals__["ReloadRefused"]):
        live.reload()


def test_a_copy_asks_for_the_key(admin_client):
    admin_client.post(reverse(ADD), posted("mailgun"))
    item = SettingsSet.objects.get()
    page = admin_client.get(reverse(f"{PREFIX}:copy", args=[item.pk]))
    form = page.context["form"]
    assert form["transport"].value() == "mailgun"
    assert form["provider_mailgun_api_url"].value() == "https://api.mailgun.net/v3"
    response = admin_client.post(
        reverse(f"{PREFIX}:copy", args=[item.pk]), posted("mailgun", keys={}, name="Other")
    )
    assert set(errors(response)) == {"provider_mailgun_api_key"}


def test_the_audit_log_names_fields_and_no_values(admin_client):
    from wagtail.models import ModelLogEntry

    admin_client.post(reverse(ADD), posted("mailgun"))
    item = SettingsSet.objects.get()
    _edit(
        admin_client,
        item,
        "mailgun",
        provider_mailgun_api_url="https://api.eu.mailgun.net/v3",
    )
    entry = ModelLogEntry.objects.filter(action="wagtail.edit").get()
    assert entry.data["fields"] == ["API key", "Region"]
    assert CANARY not in json.dumps(entry.data)


def test_the_reload_says_what_changes(admin_client):
    admin_client.post(reverse(ADD), posted("mailgun"))
    live.reload()
    item = SettingsSet.objects.get()
    _edit(
        admin_client,
        item,
        "mailgun",
        provider_mailgun_api_url="https://api.eu.mailgun.net/v3",
    )
    [change] = live.preview().changes
    labels = {field.label: (field.before, field.after) for field in change.fields}
    assert labels["Keys"] == ("", "")
    assert labels["Provider options"] == (
        "Region: United States",
        "Region: European Union",
    )


class TestWithoutAnymail:
    @pytest.fixture(autouse=True)
    def _missing(self, monkeypatch):
        for name in list(sys.modules):
            if name == "anymail" or name.startswith("anymail."):
                monkeypatch.delitem(sys.modules, name)
        # None in sys.modules is what Python takes for a module that isn't there.
        monkeypatch.setitem(sys.modules, "anymail", None)

    def test_providers_cant_be_chosen_and_the_form_says_how_to_get_them(self, admin_client):
        page = admin_client.get(reverse(ADD)).content.decode()
        assert re.search(r'<option value="mailgun"[^>]* disabled', page)
        assert "wagtail-smtp[anymail]" in page
        found = errors(admin_client.post(reverse(ADD), posted("mailgun")))
        assert set(found) == {"transport"}

    def test_a_set_from_before_is_refused_by_the_reload(self, make_set):
        item = make_set(transport="brevo", authentication="none", ca_certificates="")
        item.secret = Secret.store(
            json.dumps({"api_key": "x"}), item.frozen(()).binding(), item.key
        )
        item.save()
        assert any("wagtail-smtp[anymail]" in str(p) for p in live.preview().problems)

    def test_a_live_set_defers(self, make_set, monkeypatch):
        from django.core.mail import EmailMessage

        from wagtail_smtp.exceptions import MessageDeferred
        from wagtail_smtp.transports.esp import catalog as esp_catalog

        item = make_set(transport="brevo", authentication="none", ca_certificates="")
        item.secret = Secret.store(
            json.dumps({"api_key": "x"}), item.frozen(()).binding(), item.key
        )
        item.save()
        with monkeypatch.context() as patched:
            patched.setattr(esp_catalog, "problems", lambda item: ())
            live.reload()
        with pytest.raises(MessageDeferred, match="anymail"):
            EmailMessage("Hi", "Body", None, ["to@example.com"]).send()
        assert LogEntry.objects.get().state == "failed"


def test_all_secret_fields_are_hidden_from_error_reports():
    from wagtail_smtp.admin.sets import oauth_form, secret_form

    wanted = {"password", *SECRET_FIELDS, *oauth_form.SECRET_FIELDS}
    # A secret may also be typed where the name of its variable belongs.
    wanted |= {f"{name}_name" for name in wanted}
    assert set(secret_form.SECRET_FIELDS) == wanted
    assert len(SECRET_FIELDS) == len(PROVIDERS)


class TestTests:
    """The buttons of the form, with what is typed and with what is stored."""

    def _test(self, client, data, pk=None):
        from tests.admin.connection_check.test_views import SETS, lines

        name, args = ("test_new", []) if pk is None else ("test_typed", [pk])
        response = client.post(reverse(f"{SETS}:{name}", args=args), data)
        found = lines(response)
        assert CANARY not in json.dumps(found)
        return found

    def test_a_typed_and_a_stored_key(self, admin_client):
        with ProviderServer(PROVIDERS["postal"].accepted(["me@example.org"]), tls=False) as server:
            where = {"provider_postal_api_url": server.url}
            data = posted("postal", test="email", test_address="me@example.org", **where)
            found = self._test(admin_client, data)
            assert found[-1]["ok"], found
            assert "the key you entered" in json.dumps(found)
            assert server.requests[0].headers["X-Server-API-Key"] == CANARY

            admin_client.post(reverse(ADD), posted("postal", **where))
            item = SettingsSet.objects.get()
            data = posted("postal", keys={}, loaded_revision=str(item.revision), **where)
            found = self._test(admin_client, data, item.pk)
            assert found[-1]["ok"], found
            # No key was used yet, so none is spoken of.
            assert "the saved key" not in json.dumps(found)
            assert "to check the key" in json.dumps(found)

            data |= {"test": "email", "test_address": "me@example.org"}
            found = self._test(admin_client, data, item.pk)
            assert "the saved key" in json.dumps(found)

    def test_the_stored_key_goes_nowhere_else(self, admin_client):
        with ProviderServer(Answer(), tls=False) as server:
            admin_client.post(reverse(ADD), posted("postal"))
            item = SettingsSet.objects.get()
            data = posted(
                "postal",
                keys={},
                loaded_revision=str(item.revision),
                test="email",
                test_address="me@example.org",
                provider_postal_api_url=server.url,
            )
            found = self._test(admin_client, data, item.pk)
            assert "provider_postal_api_key" in json.dumps(found)
            assert server.connections == 0
