"""What the settings and the environment decide, as *Email delivery* shows it."""

import pytest

from wagtail_smtp.conf import DEFAULTS, VARIABLES
from wagtail_smtp.diagnostics.decisions import decisions

CANARY = "c4nary-in-the-mine"


def _by_source():
    return {each.source: each for each in decisions()}


def test_each_names_what_decides_it(configure, monkeypatch):
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    configure(DELIVERY="queued", KEEP_LOG_DAYS=1, SETS_FILE="/site/email.yaml")
    found = _by_source()
    delivery = found['WAGTAIL_SMTP["DELIVERY"]']
    assert (delivery.value, delivery.is_default) == ("through the outbox", False)
    assert found['WAGTAIL_SMTP["KEEP_LOG_DAYS"]'].value == "1 day"
    assert found['WAGTAIL_SMTP["SETS_FILE"]'].value == "/site/email.yaml"
    stored = found['WAGTAIL_SMTP["STORE_MESSAGES"]']
    assert (stored.value, stored.is_default) == ("those that were not delivered", True)
    assert found['WAGTAIL_SMTP["REDIRECT_ALL_TO"]'].value == "no"
    assert len(found) == len(decisions())


def test_a_variable_decides_before_the_setting(configure, monkeypatch):
    configure(REDIRECT_ALL_TO=["setting@example.com"], ENVIRONMENT="staging")
    monkeypatch.setenv("WAGTAIL_SMTP_REDIRECT_ALL_TO", "qa@example.com, me@example.com")
    monkeypatch.setenv("WAGTAIL_SMTP_ENVIRONMENT", "production")
    found = _by_source()
    redirect = found["WAGTAIL_SMTP_REDIRECT_ALL_TO"]
    assert (redirect.value, redirect.is_default) == ("qa@example.com, me@example.com", False)
    assert found["WAGTAIL_SMTP_ENVIRONMENT"].value == "production"
    monkeypatch.setenv("WAGTAIL_SMTP_REDIRECT_ALL_TO", "")
    assert "no email is sent" in _by_source()["WAGTAIL_SMTP_REDIRECT_ALL_TO"].value


def test_a_wrong_value_is_shown_instead_of_an_error(configure):
    configure(ENVIRONMENT="Not A Name", DELIVERY="sometimes")
    found = _by_source()
    assert "must be a name" in found['WAGTAIL_SMTP["ENVIRONMENT"]'].value
    assert "must be one of" in found['WAGTAIL_SMTP["DELIVERY"]'].value


def test_there_is_no_secret_in_it(settings, configure, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", CANARY)
    configure(
        ALERTS=[f"ntfy://{CANARY}", CANARY],
        ENCRYPTION_KEYS=[CANARY],
        STANDARD={
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "own.example.com", "username": "own", "password": CANARY},
        },
    )
    assert CANARY not in str(decisions())
    assert _by_source()['WAGTAIL_SMTP["STANDARD"]'].value == "own.example.com:25"


@pytest.mark.parametrize("key", DEFAULTS)
def test_no_text_is_missing_for_any_default(key, configure):
    configure(**{key: DEFAULTS[key]})
    assert all(each.name and each.value for each in decisions())
