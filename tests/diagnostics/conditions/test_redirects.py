"""The redirect that stays on."""

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from wagtail_smtp.diagnostics.conditions.base import WEEKLY
from wagtail_smtp.diagnostics.conditions.redirects import long_redirects
from wagtail_smtp.models import ConfigurationVersion, SettingsSet

QA = "qa@example.com"
DAY = 24 * 3600


def _age(seconds, *numbers):
    """Make versions older."""
    versions = ConfigurationVersion.objects.all()
    for version in versions.filter(number__in=numbers) if numbers else versions:
        version.created_at -= timedelta(seconds=seconds)
        version.save()


def _redirects():
    return list(long_redirects())


@pytest.fixture
def redirecting(make_set, reload):
    """A live set that has redirected all email for a day."""
    item = make_set(name="Test", redirect=True, reports=[QA])
    reload()
    _age(DAY)
    return item


def test_a_redirect_is_reported_after_a_day(redirecting):
    _age(-60)
    assert _redirects() == []
    _age(120)
    [found] = _redirects()
    assert (found.kind, found.interval) == ("redirect", WEEKLY)
    assert found.subject == "Email: “Test” has been redirecting email for more than 1 day"
    assert f"only to {QA}, not to the real" in found.paragraphs[0]
    assert "This applies to all mail." in found.paragraphs[0]
    assert found.paragraphs[-1] == "In the admin, open “Email → SMTP settings”, “Test”."
    _age(2 * DAY)
    assert "3 days" in _redirects()[0].subject
    assert _redirects()[0].cause != found.cause  # it began at another time


def test_other_changes_do_not_make_a_redirect_younger(redirecting, reload):
    before = _redirects()[0].cause
    for name in ("Testing", "Test mail"):
        SettingsSet.objects.update(name=name)
        reload()
    [found] = _redirects()
    assert "“Test mail”" in found.subject
    assert found.cause == before


def test_a_redirect_that_was_off_in_between_begins_again(redirecting, reload):
    for redirect in (False, True):
        SettingsSet.objects.update(redirect=redirect)
        reload(end_redirect=True)
    assert _redirects() == []
    _age(DAY + 60, 3)
    assert len(_redirects()) == 1


def test_a_redirect_without_effect_is_not_reported(redirecting, make_set, reload):
    SettingsSet.objects.update(sort_order=1)
    make_set(name="Main", sort_order=0)
    reload(end_redirect=True)
    _age(9 * DAY)
    assert _redirects() == []


def test_a_redirect_of_some_email(make_set, reload):
    make_set(name="Main", categories=["invoice"])
    make_set(name="Test", redirect=True, reports=[QA], categories=["form"])
    reload()
    _age(2 * DAY)
    [found] = _redirects()
    assert found.paragraphs[0].endswith("This applies to form.")


def test_a_forced_redirect_is_not_reported(redirecting, configure):
    assert len(_redirects()) == 1
    configure(REDIRECT_ALL_TO=[QA])
    assert _redirects() == []


def test_a_redirect_that_is_saved_but_not_live_is_not_reported(make_set, reload):
    make_set()
    reload()
    SettingsSet.objects.update(redirect=True)
    _age(2 * DAY)
    assert _redirects() == []


def test_in_a_copy_the_redirect_begins_with_the_first_reload(make_set, reload, run_in):
    run_in("production")
    make_set(name="Test", redirect=True, reports=[QA])
    reload()
    _age(9 * DAY)
    assert len(_redirects()) == 1
    run_in("staging")
    assert _redirects() == []
    reload(end_redirect=True)
    assert _redirects() == []
    _age(DAY + 60, 2)
    [found] = _redirects()
    assert "1 day" in found.subject


def test_a_version_of_a_newer_release_ends_what_is_known(redirecting, reload):
    SettingsSet.objects.update(name="New")
    reload()
    ConfigurationVersion.objects.filter(number=1).update(format=99)
    assert _redirects() == []
    ConfigurationVersion.objects.filter(number=2).update(
        created_at=timezone.now() - timedelta(days=2)
    )
    assert len(_redirects()) == 1


def test_without_time_zones(make_set, reload, settings):
    settings.USE_TZ = False
    make_set(name="Test", redirect=True, reports=[QA])
    reload()
    assert _redirects() == []
    _age(DAY + 60)
    assert len(_redirects()) == 1


def test_texts_follow_the_language(redirecting):
    with translation.override("de"):
        [found] = _redirects()
        assert found.summary
