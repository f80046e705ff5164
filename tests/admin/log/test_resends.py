"""Resends: their effect on the original, on counts of failures, and on resending several."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from tests.admin.log.test_actions import audit, bulk_url, shown, url
from tests.support.log_entries import fill, make_entry, make_message
from wagtail_smtp import signals
from wagtail_smtp.admin.delivery import chart
from wagtail_smtp.admin.delivery.failures import count_since, last_failures, latest_failure
from wagtail_smtp.admin.log import actions
from wagtail_smtp.diagnostics.status import status
from wagtail_smtp.maintenance import resend
from wagtail_smtp.maintenance.resend import ResendSummary, resend_several
from wagtail_smtp.models import LogEntry


def _failed(**values):
    return make_entry(message=make_message(), **values)


def _all(**query):
    return bulk_url() + "?" + "&".join(f"{k}={v}" for k, v in {"id": "all", **query}.items())


def _counts():
    """Return each count of failures that the admin and smtp_status show."""
    day = timezone.now() - timedelta(days=1)
    today = chart.volume().days[-1].counts
    return (
        count_since(day),
        len(last_failures()),
        len(status().failures),
        latest_failure() is not None,
        today.get("failed", 0),
    )


def test_counts_forget_what_was_resent_successfully(admin_client):
    entry = _failed()
    assert _counts() == (1, 1, 1, True, 1)
    again = make_entry(resend_of=entry, state="failed", message=make_message())
    other = _failed()
    from django.core.cache import cache

    cache.clear()
    assert _counts() == (3, 3, 3, True, 3)
    # A resent copy also settles the original and the other copy.
    resend.claim(again, None, 0)
    made = resend.send_claimed(again).entry
    assert (made.resend_of_id, made.state) == (entry.pk, "sent")
    LogEntry.objects.filter(pk=other.pk).delete()
    cache.clear()
    assert _counts() == (0, 0, 0, False, 0)


def test_a_copy_that_failed_after_a_success_counts(admin_client):
    entry = make_entry(state="sent")
    make_entry(resend_of=entry, state="failed")
    assert count_since(timezone.now() - timedelta(days=1)) == 1


@pytest.mark.parametrize("state", ["failed", "unknown", "queued", "refused"])
def test_only_success_makes_up_for_it(admin_client, state):
    make_entry(resend_of=make_entry(), state=state)
    assert count_since(timezone.now() - timedelta(days=1)) >= 1


def test_asking_again_shows_who_has_it_and_what_was_sent(admin_client):
    entry = make_entry("a@example.org", "b@example.org", message=make_message())
    page = shown(admin_client.get(url("resend", entry)))
    assert "data-already-sent" not in page
    assert "help-warning" not in page.partition('id="main"')[2]
    copy = make_entry("a@example.org", "b@example.org", state="sent", resend_of=entry)
    copy.recipients.filter(address="b@example.org").update(state="refused")
    page = shown(admin_client.get(url("resend", entry)))
    assert re.search(r"a@example.org</bdi> – <strong data-already-sent>", page)
    assert not re.search(r"b@example.org</bdi> – <strong data-already-sent>", page)
    assert url("entry", copy) in page
    assert "help-warning" in page.partition('id="main"')[2]  # it would arrive twice


def test_the_listing_says_at_the_original_that_it_was_resent(admin_client):
    resent, failed, alone = (_failed(subject=name) for name in ("resent", "failed", "alone"))
    sent = make_entry(state="sent", resend_of=resent)
    make_entry(state="failed", resend_of=resent)
    again = make_entry(state="failed", resend_of=failed)
    page = shown(admin_client.get(reverse("wagtail_smtp_log:index")))
    marks = re.findall(r'class="wsmtp-log-resent" href="([^"]+)"', page)
    assert sorted(marks) == sorted([url("entry", sent), url("entry", again)])
    assert f'href="{url("entry", alone)}"' in page


@pytest.mark.threat(37)
def test_several_never_means_twice(admin_client):
    plain = _failed(subject="plain")
    resent = _failed(subject="resent")
    make_entry(state="sent", resend_of=resent)
    twin = _failed(subject="twin")
    copy = _failed(subject="copy", resend_of=twin)
    waits = _failed(subject="waits")
    make_entry(state="queued", resend_of=waits)
    unsure = _failed(subject="unsure")
    make_entry(state="unknown", resend_of=unsure)
    begun = _failed(subject="begun")
    LogEntry.objects.filter(pk=begun.pk).update(resend_began=timezone.now())
    partly = _failed(subject="partly", state="partly_sent")
    sent = _failed(subject="sent", state="sent")
    entries = [plain, resent, twin, copy, waits, unsure, begun, partly, sent]
    path = bulk_url() + "?" + "&".join(f"id={entry.pk}" for entry in entries)
    assert 'data-resend-count="2"' in shown(admin_client.get(path))
    page = shown(admin_client.post(path, {"seen": resend.newest_resend()}, follow=True))
    assert len(mail.outbox) == 2
    assert page.count("(1)") >= 5  # each reason is shown
    done = {entry.resend_of_id for entry in LogEntry.objects.filter(category_source="resent")}
    assert done == {plain.pk, twin.pk}


def test_all_that_the_filters_find(admin_client, monkeypatch):
    for number in range(60):
        _failed(subject=f"Invoice {number}")
    _failed(state="blocked")
    fill(5)
    listing = shown(admin_client.get(reverse("wagtail_smtp_log:index")))
    assert "data-bulk-action-num-objects-in-listing" in listing
    page = shown(admin_client.get(_all(state="failed")))
    assert 'data-resend-count="60"' in page
    admin_client.post(_all(state="failed"), {"seen": 0})
    assert len(mail.outbox) == 60
    # The second time, each is left out.
    page = shown(admin_client.get(_all(state="failed")))
    assert "data-resend-count" not in page
    assert "60:" in page


def test_every_selected_message_is_resent(admin_client):
    """More than a page of the listing has, and than the confirmation lists."""
    entries = [_failed() for _ in range(actions.LISTED + 5)]
    selected = bulk_url() + "?" + "&".join(f"id={entry.pk}" for entry in entries)
    page = shown(admin_client.get(selected))
    assert f'data-resend-count="{len(entries)}"' in page
    admin_client.post(selected, {"seen": 0})
    assert len(mail.outbox) == len(entries)


def test_what_takes_too_long_is_told_and_can_go_on(admin_client, monkeypatch):
    for _number in range(5):
        _failed()
    monkeypatch.setattr(actions, "MAX_SECONDS", 0.0)
    ticks = iter(range(100))
    monkeypatch.setattr(resend.time, "monotonic", lambda: next(ticks) / 2)
    monkeypatch.setattr(actions, "MAX_SECONDS", 1.0)
    page = admin_client.post(_all(), {"seen": 0}, follow=True).content.decode()
    assert 0 < len(mail.outbox) < 5
    [query] = re.findall(r'href="([^"]*after=\d+[^"]*)"', page)
    left = 5 - len(mail.outbox)
    page = shown(admin_client.get(query.replace("&amp;", "&")))
    assert f'data-resend-count="{left}"' in page


def test_unknown_ones_are_resent_only_if_asked_for(admin_client):
    _failed(state="unknown")
    admin_client.post(_all(), {"seen": 0})
    assert not mail.outbox
    admin_client.post(_all(state="unknown"), {"seen": 0})
    assert len(mail.outbox) == 1


def test_what_turns_out_to_be_sent_meanwhile_is_not_resent(admin_client, monkeypatch):
    """A worker that seemed dead comes back with the better outcome."""
    first, second = _failed(state="unknown"), _failed(state="unknown")
    send_claimed = resend.send_claimed

    def send(entry):
        LogEntry.objects.filter(pk=second.pk).update(state="sent")
        return send_claimed(entry)

    monkeypatch.setattr(resend, "send_claimed", send)
    account = ResendSummary()
    resend_several([first.pk, second.pk], account, unknown_too=True)
    assert (account.resent.total(), account.left_out) == (1, {"meanwhile": 1})
    assert len(mail.outbox) == 1


def test_a_process_that_died_leaves_the_message_to_a_person(admin_client, monkeypatch):
    entry = _failed()

    def die(entry):
        raise KeyboardInterrupt

    monkeypatch.setattr(resend, "resend", die)
    with pytest.raises(KeyboardInterrupt):
        resend_several([entry.pk], ResendSummary())
    monkeypatch.undo()
    account = ResendSummary()
    resend_several([entry.pk], account)
    assert account.left_out == {"begun": 1}
    assert not mail.outbox
    # A person can confirm it.
    page = admin_client.get(url("resend", entry)).content.decode()
    seen = re.search(r'name="seen" value="(\d+)"', page)[1]
    admin_client.post(url("resend", entry), {"seen": seen})
    assert len(mail.outbox) == 1
    entry.refresh_from_db()
    assert entry.resend_began is None


def test_a_failed_resend_can_be_repeated_by_the_next_run(admin_client, make_set, reload):
    make_set(name="Broken", host="127.0.0.1", port=9, timeout=1)
    reload()
    entry = _failed()
    for _run in range(2):
        account = ResendSummary()
        resend_several([entry.pk], account)
        assert (account.failed, account.left_out) == (1, {})
    entry.refresh_from_db()
    assert entry.resend_began is None


def test_an_interrupted_command_shows_what_it_has_resent(db, capsys):
    for _number in range(3):
        _failed()

    def interrupt(**kwargs):
        if len(mail.outbox) == 2:
            raise KeyboardInterrupt

    signals.message_sent.connect(interrupt)
    try:
        with pytest.raises(CommandError, match="to resend the rest") as caught:
            call_command("smtp_resend", since="1d")
    finally:
        signals.message_sent.disconnect(interrupt)
    assert caught.value.returncode == 130
    assert "Resent: 1 message" in capsys.readouterr().out
    assert len(mail.outbox) == 2


def _command(capsys, *given, **options):
    call_command("smtp_resend", *given, since=options.pop("since", "1d"), **options)
    return capsys.readouterr().out


def test_the_command_resends_once_and_says_what_it_left_out(db, capsys):
    for _number in range(3):
        _failed()
    _failed(category="security")
    make_entry()  # not kept
    _failed(state="blocked")
    _failed(ago=3)
    out = _command(capsys, "--dry-run")
    assert "Would be resent: 3 messages" in out
    assert not mail.outbox
    out = _command(capsys)
    assert "Resent: 3 messages" in out
    assert "- 1: security messages are never resent" in out
    assert "- 1: the message itself is no longer kept" in out
    assert len(mail.outbox) == 3
    out = _command(capsys)
    assert "Resent: 0 messages" in out
    assert "- 3: already sent" in out
    assert len(mail.outbox) == 3
    assert audit("resend").count() == 3


def test_the_command_resends_more_than_it_reads_at_a_time(db, capsys, monkeypatch):
    monkeypatch.setattr(resend, "CHUNK", 7)
    for _number in range(30):
        _failed()
    assert "Resent: 30 messages" in _command(capsys)
    assert len(mail.outbox) == 30


def test_the_command_selects(db, capsys, make_set):
    item = make_set(name="Office")
    one = _failed(set_key=item.key, via="Old name")
    _failed(via="Elsewhere")
    _failed(category="form", via="Elsewhere", state="blocked")
    assert "Would be resent: 1 message\n" in _command(capsys, "--set", "Office", "--dry-run")
    assert "Would be resent: 1 message\n" in _command(
        capsys, "--category", "form", "--state", "blocked", "--dry-run"
    )
    assert "Would be resent: 0 messages\n" in _command(capsys, "--cause", "try-later", "--dry-run")
    LogEntry.objects.filter(pk=one.pk).update(cause="try-later")
    assert "Would be resent: 1 message\n" in _command(capsys, "--cause", "try-later", "--dry-run")
    with pytest.raises(CommandError, match="Nowhere"):
        _command(capsys, "--set", "Nowhere")


def test_the_command_goes_through_the_outbox(db, capsys, configure, settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued")
    _failed()
    assert "Put in the outbox: 1 message" in _command(capsys)
    assert LogEntry.objects.filter(state="queued").count() == 1
    assert "Put in the outbox" not in _command(capsys)


def test_the_command_fails_if_a_message_does(db, capsys, make_set, reload):
    make_set(name="Broken", host="127.0.0.1", port=9, timeout=1)
    reload()
    _failed()
    with pytest.raises(CommandError, match="1 message could not be sent"):
        _command(capsys)


@pytest.mark.parametrize(
    "since", ["2026-01-01", "2026-01-01 12:30", "2026-01-01T12:30+02:00", "90m"]
)
@pytest.mark.parametrize("use_tz", [True, False])
def test_times_the_command_takes(since, use_tz, settings):
    from wagtail_smtp.management.commands.smtp_resend import _since

    settings.USE_TZ = use_tz
    assert timezone.is_aware(_since(since)) is use_tz


@pytest.mark.parametrize("since", ["", "yesterday", "2026-13-01", "h"])
def test_other_times(db, since):
    with pytest.raises(CommandError):
        call_command("smtp_resend", f"--since={since}")
