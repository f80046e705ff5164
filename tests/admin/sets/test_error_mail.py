"""A failing save: the mail to ADMINS must not carry the password that was typed."""

import logging

import pytest
from django import forms
from django.core import mail
from django.urls import reverse

from tests.admin.conftest import form_data
from tests.admin.connection_check.test_views import SETS, lines, typed
from tests.admin.sets.test_esp_form import posted
from tests.support.servers.hostile import HostileServer
from tests.support.servers.provider_server import CANARY, PROVIDERS
from wagtail_smtp.admin.connection_check import check as connection_check
from wagtail_smtp.admin.connection_check import views
from wagtail_smtp.admin.sets.esp_form import ESPForm
from wagtail_smtp.admin.sets.form import SettingsSetForm
from wagtail_smtp.config import crypto
from wagtail_smtp.config.references import SecretContent
from wagtail_smtp.live import set_secrets
from wagtail_smtp.models import Secret, SettingsSet
from wagtail_smtp.transports.smtp import check, connect

ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"


@pytest.fixture
def error_mails(admins):
    """Mail to ADMINS as Django sends it for a failed request, with the HTML of the frames."""
    from django.utils.log import AdminEmailHandler

    handler = AdminEmailHandler(include_html=True)
    # Mail about warnings, of which one would be that this mail fails, has no end.
    handler.setLevel(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("django.request", "wagtail_smtp")]
    for logger in loggers:
        logger.addHandler(handler)
    mail.outbox = []
    yield mail.outbox
    for logger in loggers:
        logger.removeHandler(handler)


#: Everything that a save runs through while the password is at hand.
BROKEN = {
    "Secret.store": Secret,
    "set_secrets.claim": set_secrets,
    "SecretContent.of": SecretContent,
    "SettingsSet.save": SettingsSet,
    "SettingsSet.stamp": SettingsSet,
    "SettingsSet.frozen": SettingsSet,
    "SettingsSet._name_is_taken": SettingsSet,
    "SettingsSetForm.clean": SettingsSetForm,
    "SettingsSetForm._enabled_report_emails": SettingsSetForm,
    "SettingsSetForm._refuse_if_stale": SettingsSetForm,
    "SettingsSetForm._secret_fields": SettingsSetForm,
    "SettingsSetForm._clean_fields": SettingsSetForm,
    "SettingsSetForm.changed_labels": SettingsSetForm,
    "CharField.clean": forms.CharField,
    "CharField.has_changed": forms.CharField,
    "PasswordInput.value_from_datadict": forms.PasswordInput,
}
#: What the page for adding doesn't run through.
ONLY_ON_EDIT = (
    "SettingsSetForm._refuse_if_stale",
    "SettingsSetForm.changed_labels",
    "CharField.has_changed",
)


@pytest.mark.threat(19)
@pytest.mark.parametrize(
    ("page", "broken"),
    [("edit", broken) for broken in BROKEN]
    + [("add", broken) for broken in BROKEN if broken not in ONLY_ON_EDIT],
)
def test_the_mail_to_admins_has_no_password(
    admin_client, make_set, error_mails, monkeypatch, broken, page
):
    item = make_set(name="Existing", ca_certificates="")
    url = reverse(ADD) if page == "add" else reverse(EDIT, args=[item.pk])

    def fail(*args, **kwargs):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(BROKEN[broken], broken.partition(".")[2], fail)
    admin_client.raise_request_exception = False
    response = admin_client.post(
        url, form_data(["qa@example.com"], loaded_revision="0", redirect="on")
    )

    assert response.status_code == 500
    _require_without("canary-5f1e", error_mails)


@pytest.mark.threat(19)
@pytest.mark.parametrize("slug", PROVIDERS)
@pytest.mark.parametrize(
    "broken",
    ["Secret.store", "ESPForm.clean", "SettingsSetForm.typed_secret", "CharField.clean"],
)
def test_the_mail_to_admins_has_no_key(admin_client, error_mails, monkeypatch, broken, slug):
    def fail(*args, **kwargs):
        raise RuntimeError("the disk is full")

    kinds = {"Secret": Secret, "ESPForm": ESPForm, "CharField": forms.CharField}
    kinds["SettingsSetForm"] = SettingsSetForm
    kind, _dot, name = broken.partition(".")
    monkeypatch.setattr(kinds[kind], name, fail)
    admin_client.raise_request_exception = False
    assert admin_client.post(reverse(ADD), posted(slug)).status_code == 500
    _require_without(CANARY, error_mails)


def _require_without(canary, error_mails):
    # Django's own handler has written one as well, without frames.
    written = texts(error_mails)
    assert len(written) >= 3
    assert all("the disk is full" in part for part in written)
    assert not any(canary in part for part in written)


def texts(mails):
    """All parts of the mails."""
    return [
        part
        for message in mails
        for part in (message.body, *(body for body, _kind in message.alternatives))
    ]


#: What a test runs through before it answers, and after that.
BROKEN_TESTS = {
    "SettingsSetForm.clean": SettingsSetForm,
    "SettingsSetForm.typed": SettingsSetForm,
    "SettingsSet.frozen": SettingsSet,
    "crypto.encrypt": crypto,
    "crypto.decrypt": crypto,
    "check.transport_config": connection_check,
    "check._hints": connection_check,
    "views.log": views,
}
BROKEN_STREAMS = {
    "Client.steps": connect.Connector,
    "Client._authenticate": connect.Connector,
    "check._result": check,
    "check._stage": connection_check,
}


@pytest.mark.threat(19)
@pytest.mark.parametrize("page", ["new", "typed"])
@pytest.mark.parametrize("broken", [*BROKEN_TESTS, *BROKEN_STREAMS])
def test_a_test_that_breaks_off_mails_no_password(
    admin_client, make_set, error_mails, monkeypatch, broken, page
):
    with HostileServer() as server:
        item = make_set(server)
        data = typed(server, name="New", password="canary-5f1e")
        url = reverse(f"{SETS}:test_new")
        if page == "typed":
            url, data = reverse(f"{SETS}:test_typed", args=[item.pk]), data | {"loaded_revision": 0}

        def fail(*args, **kwargs):
            raise RuntimeError("the disk is full")

        where = (BROKEN_TESTS | BROKEN_STREAMS)[broken]
        monkeypatch.setattr(where, broken.partition(".")[2], fail)
        admin_client.raise_request_exception = False
        response = admin_client.post(url, data)
        if broken in BROKEN_TESTS:
            assert response.status_code == 500
        else:
            assert not lines(response)[-1]["ok"]
    written = texts(error_mails)
    assert any("the disk is full" in part for part in written)
    assert not any("canary-5f1e" in part for part in written)
