"""What is switched on but has no effect, told for any configuration."""

import pytest

from wagtail_smtp.config.values import Configuration, ReportEmail, SettingsSetConfig
from wagtail_smtp.delivery.explain import notices as texts
from wagtail_smtp.delivery.explain.notices import Notice, notices
from wagtail_smtp.delivery.explain.redirects import redirecting
from wagtail_smtp.delivery.explain.routes import is_used
from wagtail_smtp.delivery.kinds import Part
from wagtail_smtp.delivery.routing import redirect_for
from wagtail_smtp.live.diff import every_kind

QA = (ReportEmail("qa@example.com"),)


def a_set(name, **values):
    if values.get("redirect"):
        values.setdefault("report_emails", QA)
    return SettingsSetConfig(name.lower(), name, host="smtp.example.com", **values)


def told(*sets, method="custom"):
    return [
        (notice.kind, notice.reason, notice.name, notice.others)
        for notice in notices(Configuration(method, sets))
    ]


def test_a_redirect_below_a_set_that_takes_all_mail():
    assert told(a_set("Main"), a_set("Test", redirect=True)) == [
        ("redirect", "above", "Test", ("Main",)),
    ]


def test_a_set_below_one_that_takes_all_mail():
    assert told(a_set("Main"), a_set("Mine"), a_set("Spare", backup=True)) == [
        ("unused", "above", "Mine", ("Main",)),
    ]


def test_the_first_sets_redirect_is_in_effect_for_all_mail():
    first = a_set("Test", redirect=True, categories=("invoice",))
    assert told(first, a_set("Main")) == []


def test_a_redirect_of_some_categories():
    sets = (a_set("Main", categories=("form",)), a_set("Test", redirect=True))
    [notice] = notices(Configuration("custom", sets))
    assert (notice.kind, notice.reason, notice.others) == ("redirect_some", "above", ("Main",))
    assert Part("form") not in notice.parts
    assert Part("other") in notice.parts
    assert notice.first_would_help


def test_a_redirect_limited_by_its_own_categories():
    sets = (
        a_set("Main", categories=("other",)),
        a_set("Test", redirect=True, categories=("form",)),
    )
    assert told(*sets) == [("redirect_some", "above", "Test", ("Main",))]


def test_a_redirect_with_the_method_standard():
    test = a_set("Test", redirect=True)
    assert told(test, method="standard") == [
        ("redirect", "method", "Test", ()),
    ]
    assert told(a_set("Main"), method="standard") == [("unused", "method", "", ())]
    assert told(method="standard") == []


def test_a_redirect_behind_another_redirect_reaches_nobody():
    sets = (a_set("QA", redirect=True), a_set("Test", redirect=True, backup=True))
    assert told(*sets) == []


def test_a_redirect_that_settings_force_holds_for_all(configure):
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    sets = (a_set("Main"), a_set("Test", redirect=True, backup=True))
    assert told(*sets) == []
    assert told(*sets, method="standard") == [("unused", "method", "", ())]


def test_a_set_whose_categories_always_use_standard_delivery():
    assert told(a_set("Main"), a_set("Codes", categories=("security",))) == [
        ("unused", "standard", "Codes", ())
    ]


def test_backups_and_redirects_are_used():
    assert told(a_set("Main"), a_set("Spare", backup=True)) == []
    first = a_set("Codes", categories=("security",), redirect=True)
    assert is_used(Configuration("custom", (first, a_set("Main"))), first)


@pytest.mark.parametrize("method", ["custom", "standard"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_it_says_what_the_pipeline_does(method, position):
    """Whatever the order: what is told to be redirected is redirected, and nothing else."""
    sets = [a_set("Form", categories=("form",)), a_set("Main")]
    sets.insert(position, a_set("Test", redirect=True, categories=("form", "other")))
    config = Configuration(method, tuple(sets))
    does = redirecting(config, sets[position])
    really = {kind: redirect_for(config, *kind) is not None for kind in every_kind(config)}
    assert set(does.kinds) == {c for c, redirected in really.items() if redirected}
    assert set(does.reached) == {c for c, redirected in really.items() if not redirected}
    is_told = any(notice.is_about_redirect for notice in notices(config))
    assert is_told == (not all(really.values()))


def test_every_notice_has_words():
    for sets, method in [
        ((a_set("Main"), a_set("Test", redirect=True)), "custom"),
        ((a_set("Test", redirect=True),), "standard"),
        ((a_set("Main", categories=("form",)), a_set("Test", redirect=True)), "custom"),
        ((a_set("Main"), a_set("Codes", categories=("security",))), "custom"),
    ]:
        for notice in notices(Configuration(method, sets)):
            assert notice.name in str(notice)
            assert "%(" not in str(notice)


@pytest.mark.parametrize(("kind", "reason"), texts._TEXTS)
def test_while_email_is_held_no_text_claims_that_it_is_sent(kind, reason):
    notice = Notice(kind, reason, "test", "Test", ("Main",), (Part("form"),))
    assert notice.text(is_held=True).startswith("After a reload, ")
    assert set(texts._TEXTS) == set(texts._HELD_TEXTS)
