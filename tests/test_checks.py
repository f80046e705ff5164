"""System checks find each configuration error."""

import pytest
from cryptography.fernet import Fernet
from django.core.mail.backends.base import BaseEmailBackend
from django.core.management import call_command
from django.urls import reverse

from wagtail_smtp import checks
from wagtail_smtp.conf import ALERTS_VARIABLE, ENVIRONMENT_VARIABLE
from wagtail_smtp.transports import standard


def ids(*functions):
    return [message.id for function in functions for message in function()]


@pytest.fixture
def given(settings):
    def give(**values):
        settings.WAGTAIL_SMTP = {**settings.WAGTAIL_SMTP, **values}

    return give


def test_the_test_project_has_no_problems(given):
    given(ENCRYPTION_KEYS=[Fernet.generate_key().decode()])
    assert ids(*checks.ALL) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"STANDART": {}}, "wagtail_smtp.E002"),
        ({"CATEGORIES": {"Not A Slug": ""}}, "wagtail_smtp.E003"),
        ({"CATEGORY_RULES": {"no colon": "security"}}, "wagtail_smtp.E003"),
        ({"ALLOWED_NETWORKS": ["10.0.0.0/99"]}, "wagtail_smtp.E003"),
        ({"ALERTS": "ntfy://topic"}, "wagtail_smtp.E003"),
        ({"ALERTS_OFF": ["storms"]}, "wagtail_smtp.E003"),
        ({"ALERTS_OFF": ["test"]}, "wagtail_smtp.E003"),
        ({"ALERTS": ["mailto://user:secret@example.com"]}, "wagtail_smtp.W022"),
        ({"ENCRYPTION_KEYS": ["no key"]}, "wagtail_smtp.E004"),
        ({"ENCRYPTION_KEYS": "a string"}, "wagtail_smtp.E004"),
        ({"STANDARD": {"BACKEND": checks.BACKEND}}, "wagtail_smtp.E006"),
        ({"STANDARD": {"BACKEND": "not.there.Backend"}}, "wagtail_smtp.E006"),
        ({"STANDARD": "locmem"}, "wagtail_smtp.E006"),
        ({"REDIRECT_ALL_TO": []}, "wagtail_smtp.E008"),
        ({"REDIRECT_ALL_TO": ["nobody"]}, "wagtail_smtp.E008"),
        ({"REDIRECT_ALL_TO": True}, "wagtail_smtp.E008"),
        ({"REDIRECT_ALL_TO": b"qa@example.com"}, "wagtail_smtp.E008"),
        ({"REDIRECT_ALL_TO": ["qa@example.com", None]}, "wagtail_smtp.E008"),
    ],
)
def test_a_wrong_value_is_an_error(given, values, expected):
    given(**({"ENCRYPTION_KEYS": [Fernet.generate_key().decode()]} | values))
    assert ids(*checks.ALL) == [expected]


@pytest.mark.parametrize(
    "values",
    [
        {"ENVIRONMENT": ""},
        {"ENVIRONMENT": "My Site"},
        {"ENVIRONMENT": "x" * 51},
        {"ENVIRONMENT": True},
        {"ENVIRONMENT": b"production"},
        {"STANDARD_CATEGORIES_IN_COPY": "security"},
        {"STANDARD_CATEGORIES_IN_COPY": ["form"]},
        {"STANDARD_CATEGORIES_IN_COPY": [["security"]]},
        {"STANDARD_CATEGORIES_IN_COPY": 1},
    ],
    ids=repr,
)
def test_a_wrong_value_about_environments_is_an_error(given, values):
    given(ENCRYPTION_KEYS=[Fernet.generate_key().decode()], **values)
    assert ids(*checks.ALL) == ["wagtail_smtp.E003"]


@pytest.mark.parametrize("name", ["", "My Site", "x" * 51, "staging "], ids=repr)
def test_a_name_in_the_variable_that_is_not_valid(given, monkeypatch, name):
    given(ENCRYPTION_KEYS=[Fernet.generate_key().decode()])
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, name)
    assert ids(*checks.ALL) == ["wagtail_smtp.E020"]
    assert ids(checks.check_environment_name) == []


@pytest.mark.parametrize("name", ["production", "staging-2", "qa_1", "0", "x" * 50])
def test_a_name_that_is_valid(given, monkeypatch, name):
    given(ENCRYPTION_KEYS=[Fernet.generate_key().decode()])
    assert ids(checks.check_environment_name) == ["wagtail_smtp.W021"]
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, name)
    assert ids(*checks.ALL, checks.check_environment_name) == []
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    given(ENVIRONMENT=name)
    assert ids(checks.check_environment_name) == []


@pytest.mark.django_db  # the check of JSON fields asks the database what it can
def test_only_a_deployment_check_recommends_a_name(capsys):
    call_command("check")
    assert "W021" not in "".join(capsys.readouterr())
    call_command("check", "--deploy")
    assert "wagtail_smtp.W021" in "".join(capsys.readouterr())


def test_the_setting_must_be_a_dictionary(settings):
    settings.WAGTAIL_SMTP = ["STANDARD"]
    assert ids(*checks.ALL) == ["wagtail_smtp.E001"]


def test_own_keys_are_recommended():
    assert ids(checks.check_own_keys) == ["wagtail_smtp.W001"]


@pytest.mark.django_db  # the check of JSON fields asks the database what it can
def test_only_a_deployment_check_recommends_own_keys(capsys):
    call_command("check")
    assert "W001" not in "".join(capsys.readouterr())
    call_command("check", "--deploy")
    assert "wagtail_smtp.W001" in "".join(capsys.readouterr())


def test_the_app_after_wagtail_admin(monkeypatch):
    # Changing INSTALLED_APPS would run every app's ready() again, which some can't handle.
    upside_down = dict(reversed(checks.apps.app_configs.items()))
    monkeypatch.setattr(checks.apps, "app_configs", upside_down)
    assert ids(checks.check_app_order) == ["wagtail_smtp.W005"]


def test_a_backend_that_bypasses_is_a_warning_and_an_error_while_redirect_is_forced(
    settings, given
):
    console = "django.core.mail.backends.console.EmailBackend"
    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {**settings.MAILERS, "bulk": {"BACKEND": console}}
    else:
        settings.EMAIL_BACKEND = console
    assert ids(checks.check_backends) == ["wagtail_smtp.W003"]
    given(REDIRECT_ALL_TO=["qa@example.com"])
    assert ids(checks.check_backends) == ["wagtail_smtp.E007"]


class Broken(BaseEmailBackend):
    def __init__(self, **kwargs):
        raise LookupError("no key in the vault")


def test_a_standard_backend_that_raises_anything(given, caplog, db, admin_client):
    given(STANDARD={"BACKEND": "tests.test_checks.Broken"})
    assert ids(checks.check_standard) == ["wagtail_smtp.E006"]
    assert (standard.server(), standard.description()) == (None, "–")
    assert "no key in the vault" in caplog.text
    assert admin_client.get(reverse("wagtail_smtp_delivery:index")).status_code == 200


def test_unconfigured_standard_delivery(given):
    options = {"host": "localhost", "port": 25, "username": "", "password": ""}
    backend = "django.core.mail.backends.smtp.EmailBackend"
    given(STANDARD={"BACKEND": backend, "OPTIONS": options})
    assert ids(checks.check_standard) == ["wagtail_smtp.W002"]


def test_missing_webhook_urls(settings):
    assert checks.check_report_urls() == []
    settings.ROOT_URLCONF = "tests.processes.programs.site"
    (message,) = checks.check_report_urls()
    assert message.id == "wagtail_smtp.I001"
    assert not message.is_serious()


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("mailto://user:canary@example.com", "mailto"),
        ("slack://canary", "slack"),
        ("twilio://canary:canary@canary", "twilio"),
        ("https://hooks.slack.com/services/canary", "https"),
        ("canary", ""),
        ("canary canary://x", ""),
    ],
)
def test_an_invalid_channel_is_named_without_its_secret(given, url, scheme):
    given(ALERTS=["ntfy://topic", url])
    [message] = [*checks.check_alert_channels(), *checks.check_alert_urls()]
    assert message.id == "wagtail_smtp.W022"
    assert f"Channel 2{f' ({scheme}://)' if scheme else ''} of" in message.msg
    assert "canary" not in str(message)


def test_a_channel_is_named_by_its_variable(given, monkeypatch):
    monkeypatch.setenv(ALERTS_VARIABLE, "mailto://user:canary@example.com")
    [message] = checks.check_alert_channels()
    assert ALERTS_VARIABLE in message.msg
    assert "canary" not in str(message)


def test_apprise_is_missing(given, monkeypatch):
    given(ALERTS=["ntfy://topic"])
    monkeypatch.setattr(checks.chat, "is_installed", lambda: False)
    assert ids(checks.check_alert_channels, checks.check_alert_urls) == ["wagtail_smtp.W023"]


def test_wrong_types_show_no_secret(given):
    given(ALERTS=[b"ntfy://canary"])
    assert "canary" not in str([message for check in checks.ALL for message in check()])
