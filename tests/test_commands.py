"""Management commands that do the same as the admin."""

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from wagtail_smtp import live
from wagtail_smtp.models import Secret, SettingsSet


def run(*args):
    out = StringIO()
    call_command(*args, stdout=out, no_color=True)
    return out.getvalue()


def test_reload_and_status(make_set):
    make_set(name="Office", host="smtp.example.com")
    assert "No settings are live yet" in run("smtp_status")
    assert "Office: Added" in run("smtp_status")
    assert "Version 1 is live." in run("smtp_reload")
    status = run("smtp_status")
    assert "Version 1 has been live since" in status
    assert "1. Office (smtp.example.com:587)" in status
    assert "secret of the tests" not in status
    assert "backup" not in status
    assert "already live" in run("smtp_reload")


def test_reload_ends_a_redirect_only_with_the_option(make_set):
    make_set(name="Office", redirect=True, reports=["qa@example.com"])
    run("smtp_reload")
    assert "redirects all email to qa@example.com" in run("smtp_status")
    SettingsSet.objects.update(redirect=False)
    with pytest.raises(CommandError, match="--end-redirect"):
        run("smtp_reload")
    assert live.live_version().number == 1
    run("smtp_reload", "--end-redirect")
    assert live.live_version().number == 2


def test_status_shows_a_forced_redirect(make_set, configure, capsys):
    make_set(name="Office")
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    assert "The project's settings redirect all email to qa@example.com." in run("smtp_status")
    configure(REDIRECT_ALL_TO=[])
    with pytest.raises(SystemExit):
        call_command("smtp_status", no_color=True)
    assert "no address, so no email is sent" in capsys.readouterr().out


def test_status_lists_backups(make_set):
    make_set(name="Office", host="smtp.example.com")
    make_set(name="Spare", host="spare.example.com", backup=True, categories=["form"])
    run("smtp_reload")
    assert "2. Spare (spare.example.com:587), only for form, backup\n" in run("smtp_status")


def test_reload_reports_problems(make_set):
    make_set(name="Office")
    Secret.objects.update(ciphertext="broken")
    with pytest.raises(CommandError, match="Office"):
        run("smtp_reload")


def test_rotating_keys(make_set, settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.WAGTAIL_SMTP = {**settings.WAGTAIL_SMTP, "ENCRYPTION_KEYS": [old]}
    item = make_set(name="Office")
    settings.WAGTAIL_SMTP = {**settings.WAGTAIL_SMTP, "ENCRYPTION_KEYS": [new, old]}
    assert "Passwords encrypted with the newest key: 1" in run("smtp_rotate_keys")
    settings.WAGTAIL_SMTP = {**settings.WAGTAIL_SMTP, "ENCRYPTION_KEYS": [new]}
    binding = item.frozen(()).binding()
    assert Secret.objects.get().reveal(binding) == "secret of the tests"
    settings.WAGTAIL_SMTP = {**settings.WAGTAIL_SMTP, "ENCRYPTION_KEYS": [old]}
    with pytest.raises(CommandError, match="can't be decrypted"):
        run("smtp_rotate_keys")
