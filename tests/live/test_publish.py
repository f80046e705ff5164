"""From the sets as they stand to what is in force, and back."""

import pytest
from cryptography.fernet import Fernet
from django.core.mail import send_mail

from tests.support.servers.hostile import HostileServer
from wagtail_smtp import live
from wagtail_smtp.exceptions import (
    RedirectNotPermitted,
    RedirectWouldEnd,
    ReloadOutdated,
    ReloadRefused,
    SecretUnreadable,
)
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.models import (
    ConfigurationVersion,
    DeliverySettings,
    ReportEmail,
    Secret,
    SettingsSet,
)
from wagtail_smtp.signals import configuration_reloaded


def _send():
    return send_mail("Hi", "Body", None, ["real@example.org"])


def _kinds(changes):
    return [(change.kind, change.name) for change in changes]


def test_saving_changes_nothing_until_the_reload(smtp_server, other_server, make_set, reload):
    item = make_set(smtp_server)
    reload()
    item.delete()
    make_set(other_server)
    _send()
    assert (len(smtp_server.received), len(other_server.received)) == (1, 0)
    reload()
    _send()
    assert (len(smtp_server.received), len(other_server.received)) == (1, 1)


def test_the_difference_tells_what_changes(make_set, reload):
    first, second, third = (make_set(name=name) for name in ("A", "B", "C"))
    reload()
    assert not live.preview().has_changes
    second.host = "smtp.example.net"
    second.secret = Secret.store("another", second.frozen(()).binding(), second.key)
    second.save()
    third.delete()
    make_set(name="D")
    changes = live.preview().changes
    assert _kinds(changes) == [("changed", "B"), ("added", "D"), ("removed", "C")]
    assert [field.label for field in changes[0].fields] == ["Network host", "Password"]
    assert "another" not in str(changes[0])

    SettingsSet.objects.filter(pk=first.pk).update(sort_order=9)
    assert ("moved", "A") in _kinds(live.preview().changes)


def test_a_reload_without_changes_writes_nothing(make_set, reload):
    make_set()
    assert reload().number == 1
    assert reload() is None
    assert ConfigurationVersion.objects.count() == 1


def test_the_method_counts(make_set, reload):
    make_set()
    reload()
    DeliverySettings(pk=1, method="standard").save()
    assert _kinds(live.preview().changes) == [("method", "Delivery method")]


def test_what_was_confirmed_is_what_is_applied(make_set, reload):
    item = make_set()
    token = live.preview().token
    item.host = "evil.example.net"
    item.secret = Secret.store("x", item.frozen(()).binding(), item.key)
    item.save()
    with pytest.raises(ReloadOutdated):
        reload(token=token)
    token = live.preview().token
    assert reload(token=token).number == 1
    # The live version has changed meanwhile.
    with pytest.raises(ReloadOutdated):
        reload(token=token)


def test_ending_a_redirect_must_be_confirmed(make_set, reload):
    item = make_set(redirect=True, reports=["qa@example.com"])
    reload()
    item.redirect = False
    item.save()
    with pytest.raises(RedirectWouldEnd, match=r"qa@example\.com"):
        reload()
    assert live.live_version().number == 1
    assert reload(end_redirect=True).number == 2


def test_any_change_of_a_redirects_addresses_needs_permission(make_set, reload):
    item = make_set(redirect=True, reports=["qa@example.com", "me@example.com"])
    reload()
    ReportEmail.objects.filter(address="qa@example.com").delete()
    with pytest.raises(RedirectNotPermitted, match=r"to me@example\.com"):
        reload(may_redirect=False)
    reload()
    item.sender_name = "Site"
    item.save()
    assert reload(may_redirect=False).number == 3


def test_a_set_that_only_follows_another_has_not_moved(make_set, reload):
    for name in "ABC":
        make_set(name=name)
    reload()
    SettingsSet.objects.filter(name="A").update(sort_order=9)
    changes = live.preview().changes
    assert _kinds(changes) == [("moved", "B"), ("moved", "A")]
    assert all(field.before != field.after for change in changes for field in change.fields)


@pytest.mark.parametrize("how", ["disabled", "moved down", "standard delivery", "deleted"])
def test_other_ways_to_end_a_redirect(make_set, reload, how):
    item = make_set(redirect=True, reports=["qa@example.com"])
    make_set()
    reload()
    if how == "disabled":
        SettingsSet.objects.filter(pk=item.pk).update(enabled=False)
    elif how == "moved down":
        SettingsSet.objects.filter(pk=item.pk).update(sort_order=9)
    elif how == "standard delivery":
        DeliverySettings(pk=1, method="standard").save()
    else:
        item.delete()
    with pytest.raises(RedirectWouldEnd):
        reload()


@pytest.mark.threat(22)
def test_starting_a_redirect_needs_permission(make_set, reload):
    item = make_set(reports=["qa@example.com"])
    reload()
    item.redirect = True
    item.save()
    with pytest.raises(RedirectNotPermitted):
        reload(may_redirect=False)
    reload()
    ReportEmail.objects.update(address="thief@example.com")
    with pytest.raises(RedirectNotPermitted, match=r"thief@example\.com"):
        reload(may_redirect=False)


def test_a_set_whose_password_is_unreadable_is_refused(make_set, reload, settings):
    make_set(name="Office")
    keys = [Fernet.generate_key().decode()]
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ENCRYPTION_KEYS": keys}
    with pytest.raises(ReloadRefused) as caught:
        reload()
    [problem] = caught.value.problems
    assert (problem.set_name, problem.field) == ("Office", "password")
    assert live.live_version() is None


def test_a_live_password_that_became_unreadable(smtp_server, make_set, reload, settings):
    make_set(smtp_server)
    reload()
    keys = [Fernet.generate_key().decode()]
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ENCRYPTION_KEYS": keys}
    with pytest.raises(SecretUnreadable):
        _send()
    assert smtp_server.logins == []


@pytest.mark.threat(9)
def test_a_password_is_not_sent_to_another_server(smtp_server, other_server, make_set, reload):
    item = make_set(smtp_server)
    SettingsSet.objects.filter(pk=item.pk).update(port=other_server.port)
    with pytest.raises(ReloadRefused) as caught:
        reload()
    assert caught.value.problems[0].field == "password"


def test_making_a_version_live_again_puts_the_sets_back(smtp_server, make_set, reload):
    item = make_set(smtp_server, name="Old", reports=["qa@example.com"])
    first = reload()
    before = live.draft_configuration()
    item.delete()
    make_set(name="old")  # takes the name
    reload()

    plan = live.preview(first)
    assert plan.lost == ()
    assert live.make_live(first, token=plan.token).number == 3

    assert live.draft_configuration() == before
    assert [s.name for s in SettingsSet.objects.filter(enabled=True)] == ["Old"]
    assert SettingsSet.objects.filter(enabled=False).count() == 1
    assert not live.preview().has_changes
    _send()
    assert len(smtp_server.received) == 1


def test_edits_that_would_be_lost_are_told(make_set, reload):
    item = make_set(name="A")
    first = reload()
    item.sender_name = "New"
    item.save()
    assert _kinds(live.preview(first).lost) == [("changed", "A")]
    live.make_live(first)
    assert SettingsSet.objects.get().sender_name == ""


def test_what_the_earlier_version_has_as_well_is_not_lost(make_set, reload):
    item = make_set(name="A", sender_name="Old")
    other = make_set(name="B")
    first = reload()
    item.sender_name = "New"
    item.save()
    reload()
    item.sender_name = "Old"  # as it was in the first version
    item.save()
    assert live.preview(first).lost == ()
    other.sender_name = "Pending"
    other.save()
    assert _kinds(live.preview(first).lost) == [("changed", "B")]
    [field] = live.preview(first).lost[0].fields
    assert (field.before, field.after) == ("", "Pending")


def test_what_only_waits_is_lost_and_nothing_else(make_set, reload):
    """Neither what the live version has and the earlier one hasn't, nor the other way round."""
    item = make_set(name="A", sender_name="One")
    first = reload()
    item.sender_name = "Two"
    item.save()
    make_set(name="B")
    reload()
    assert live.preview(first).lost == ()
    DeliverySettings(pk=1, method="standard").save()
    assert _kinds(live.preview(first).lost) == [("method", "Delivery method")]


def test_an_order_that_waits_is_lost(make_set, reload):
    make_set(name="A")
    item = make_set(name="B")
    first = reload()
    SettingsSet.objects.filter(pk=item.pk).update(sort_order=-1)
    assert [kind for kind, _name in _kinds(live.preview(first).lost)] == ["moved"] * 2


def test_switching_off_is_no_removal(make_set, reload):
    item, other = make_set(name="A"), make_set(name="B")
    reload()
    SettingsSet.objects.filter(pk=item.pk).update(enabled=False)
    assert _kinds(live.preview().changes) == [("off", "A")]
    reload()
    SettingsSet.objects.filter(pk=item.pk).update(enabled=True)
    make_set(name="C")
    other.delete()
    kinds = _kinds(live.preview().changes)
    assert kinds == [("on", "A"), ("added", "C"), ("removed", "B")]


def test_the_password_of_a_new_set_is_set_and_its_place_is_that_of_the_listing(make_set, reload):
    make_set(name="A")
    make_set(name="Off", enabled=False)
    make_set(name="B")
    reload()
    make_set(name="C")
    [added] = live.preview().changes
    values = {field.label: (field.before, field.after) for field in added.fields}
    assert values["Position"] == ("", "after “B”")
    assert values["Password"] == ("", "set")
    assert values["Certificates of a private authority"] == ("", "set")
    item = SettingsSet.objects.get(name="B")
    item.secret, item.authentication = None, "none"
    item.save()
    changes = {change.name: change for change in live.preview().changes}
    values = {field.label: field.after for field in changes["B"].fields}
    assert values["Password"] == "removed"


def test_fifty_versions_are_kept_and_their_secrets(make_set, reload):
    item = make_set()
    for number in range(53):
        item.sender_name = f"Sender {number}"
        if number == 1:
            item.secret = Secret.store("second", item.frozen(()).binding(), item.key)
        item.save()
        reload()
    numbers = ConfigurationVersion.objects.values_list("number", flat=True)
    assert list(numbers) == list(range(53, 3, -1))
    assert list(Secret.objects.values_list("pk", flat=True)) == [item.secret_id]


def test_a_removed_password_is_revoked_everywhere(smtp_server, make_set, reload):
    item = make_set(smtp_server)
    first = reload()
    old = item.secret
    item.secret = Secret.store(smtp_server.password, item.frozen(()).binding(), item.key)
    item.save()
    reload()
    live_secret = item.secret
    revoke(item.key)
    item.authentication, item.username, item.secret = "none", "", None
    item.save()
    old.refresh_from_db()
    live_secret.refresh_from_db()
    assert old.ciphertext == ""
    assert live_secret.ciphertext != ""
    _send()  # what is live works until the reload
    reload()
    live_secret.refresh_from_db()
    assert live_secret.ciphertext == ""
    with pytest.raises(ReloadRefused):
        live.make_live(first)


def test_a_removed_password_does_not_come_back_with_an_old_version(smtp_server, make_set, reload):
    item = make_set(smtp_server)
    first = reload()
    item.sender_name = "Site"
    item.save()
    reload()
    SettingsSet.objects.update(secret=None)
    revoke(item.key)
    assert Secret.objects.get().ciphertext != ""  # what is live works until the reload
    with pytest.raises(ReloadRefused) as caught:
        live.make_live(first)
    [problem] = caught.value.problems
    assert problem.field == "password"
    assert "was removed" in str(problem)


@pytest.mark.parametrize(
    ("host", "options", "is_refused"),
    [
        ("192.0.2.1", {}, True),
        ("192.0.2.1", {"use_tls": True}, False),
        ("127.0.0.1", {}, False),
    ],
)
def test_default_credentials_without_tls(make_set, reload, settings, host, options, is_refused):
    options = {"host": host, "port": 25, "username": "own", "password": "own-pw"} | options
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {
        "STANDARD": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": options,
        }
    }
    make_set(authentication="default", username="", host="", ca_certificates="")
    if not is_refused:
        assert reload().number == 1
        return
    with pytest.raises(ReloadRefused) as caught:
        reload()
    assert [problem.field for problem in caught.value.problems] == ["encryption"]


@pytest.mark.threat(21)
def test_default_credentials_go_to_standard_delivery_only(make_set, reload, configure):
    """Whatever another server's row in the database says."""
    with HostileServer("none") as own, HostileServer("none") as other:
        options = {"host": "localhost", "port": own.port}
        options |= {"username": own.username, "password": own.password}
        backend = "django.core.mail.backends.smtp.EmailBackend"
        configure(STANDARD={"BACKEND": backend, "OPTIONS": options})
        make_set(other, authentication="default", host="127.0.0.1")
        reload()
        send_mail("Hi", "Body", None, ["real@example.org"])
        assert own.logins == [(own.username, own.password)]
        assert other.connections == 0


def test_the_signal_follows_the_commit(make_set, reload, django_capture_on_commit_callbacks):
    told = []

    def receiver(number, user, **kwargs):
        told.append((number, user))

    configuration_reloaded.connect(receiver)
    try:
        make_set()
        with django_capture_on_commit_callbacks(execute=True):
            reload()
            assert told == []
    finally:
        configuration_reloaded.disconnect(receiver)
    assert told == [(1, None)]
