"""*Email delivery*: which role sees what, the test email, and recent messages."""

import itertools
import re
import smtplib
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.mail.backends.base import BaseEmailBackend
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from wagtail.models import ModelLogEntry

from tests.support import causes, down_cache
from tests.support.log_entries import make_entry, make_message, make_waiting
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.admin.connection_check import views
from wagtail_smtp.admin.labels import category_choices
from wagtail_smtp.deliverability import report
from wagtail_smtp.deliverability.verdicts import Finding, Note, Verdict
from wagtail_smtp.live import lookup
from wagtail_smtp.live.db import autonomous
from wagtail_smtp.models import (
    ConfigurationVersion,
    LogEntry,
    OutboxMessage,
    Secret,
    ServerCertificate,
    SettingsSet,
    StoredMessage,
)
from wagtail_smtp.transports import standard

INDEX, TEST = "wagtail_smtp_delivery:index", "wagtail_smtp_delivery:test"
HOME = "wagtailadmin_home"
CANARY = "canary-5f1e"
#: The first line while there is a problem.
ATTENTION = ("attention", "bad")
NO_WORKER = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


def page_of(client, **query):
    response = client.get(reverse(INDEX), query)
    assert response.status_code == 200
    return _text(response)


def status_of(client):
    """Return kind and tone of each status line."""
    return [
        found[::-1] for found in re.findall(r'data-tone="(\w+)" data-kind="(\w+)"', page_of(client))
    ]


def _text(response):
    return re.sub(r"\s+", " ", response.content.decode())


def send(client, recipient="me@example.org", category="test"):
    """Send a test email and return the page that follows."""
    data = {"recipient": recipient, "category": category}
    return _text(client.post(reverse(TEST), data, follow=True))


# Who may what

SEE, SEND, LOG = "view_settingsset", "send_test_email", "view_logentry"
ROLES = [roles for size in range(4) for roles in itertools.combinations((SEE, SEND, LOG), size)]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: "+".join(role) or "editor")
def test_each_role_sees_its_part(client, make_user, make_set, reload, role):
    make_set(name="Office", redirect=True, reports=["qa@example.com"])
    reload()
    make_entry("anna@example.net", subject="canary-subject", reason="<anna@example.net>: no")
    client.force_login(make_user(*role))
    if not role:
        assert client.get(reverse(INDEX)).url == reverse(HOME)
        assert reverse(INDEX) not in client.get(reverse(HOME)).content.decode()
        return
    text = page_of(client)
    parts = {
        'id="routing-section"': SEE in role,
        "qa@example.com": SEE in role,
        reverse(TEST): SEND in role,
        'id="failures-section"': SEE in role or LOG in role,
        "Messages per day": SEE in role or LOG in role,
        "canary-subject": LOG in role,
        "anna@example.net": LOG in role,
        reverse("wagtail_smtp_log:index"): LOG in role,
        "Delivery method</span>": False,
    }
    assert {part: part in text for part in parts} == parts
    assert reverse(INDEX) in client.get(reverse(HOME)).content.decode()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: "+".join(role) or "editor")
def test_only_who_may_sends_a_test_email(client, make_user, role):
    client.force_login(make_user(*role))
    response = client.post(reverse(TEST), {"recipient": "me@example.org", "category": "test"})
    assert len(mail.outbox) == (SEND in role)
    if SEND not in role:
        assert response.url == reverse(HOME)
        assert not ModelLogEntry.objects.filter(action="wagtail_smtp.test_delivery").exists()


def test_strangers_and_forged_requests_send_nothing(admin_client):
    data = {"recipient": "me@example.org", "category": "test"}
    assert Client().post(reverse(TEST), data).url.startswith(reverse("wagtailadmin_login"))
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_client.user)
    assert client.post(reverse(TEST), data).status_code == 403
    assert admin_client.get(reverse(TEST)).status_code == 405
    assert not mail.outbox


def test_the_group_editor_offers_the_permission(admin_client):
    page = admin_client.get(reverse("wagtailusers_groups:add")).content.decode()
    assert "Can send test emails" in page


# The test email


def test_it_goes_the_way_of_all_mail(admin_client, make_set, reload, smtp_server):
    make_set(smtp_server, name="Office")
    reload()
    SettingsSet.objects.update(name="Changed, not live")
    text = send(admin_client)
    [received] = smtp_server.received
    assert received.recipients == ["me@example.org"]
    assert "X-Email-Category" not in received.message
    entry = LogEntry.objects.get()
    assert (entry.category, entry.via, entry.state) == ("test", "Office", "sent")
    assert "The test email was sent." in text
    result = text.partition("data-result")[0].rpartition("<div")[2]
    assert "wsmtp-outcome--good" in result
    headline = text.partition('data-result="info"')[2].partition("</p>")[0]
    assert "#icon-success" in headline
    assert "Office: the first set that applies" in text
    assert reverse("wagtail_smtp_log:entry", args=[entry.pk]) in text
    audit = ModelLogEntry.objects.get(action="wagtail_smtp.test_delivery")
    assert (audit.user, audit.data) == (
        admin_client.user,
        {"address": "me@example.org", "category": "test"},
    )


def test_the_form_proposes_ones_own_address(admin_client):
    assert 'value="boss@example.com"' in page_of(admin_client)


def test_as_any_category(admin_client, make_set, reload, smtp_server):
    make_set(smtp_server, name="Office", categories=["invoice"])
    reload()
    text = send(admin_client, category="security")
    assert "this category always uses standard delivery" in text
    assert [message.to for message in mail.outbox] == [["me@example.org"]]
    assert "Office: the first set that applies" in send(admin_client, category="invoice")
    assert len(smtp_server.received) == 1
    assert set(LogEntry.objects.values_list("category", flat=True)) == {"security", "invoice"}


def test_a_redirect_holds_and_is_told(client, admin_client, make_user, make_set, reload):
    with HostileServer() as server:
        make_set(server, name="Staging", redirect=True, reports=["qa@example.com"])
        reload()
        text = send(admin_client)
        assert [each.recipients for each in server.received] == [["qa@example.com"]]
        assert "<dt>Redirected by</dt><dd><bdi>Staging</bdi></dd>" in text
        assert "<dt>Redirected to</dt><dd><bdi>qa@example.com</bdi></dd>" in text
        client.force_login(make_user("send_test_email"))
        text = send(client)
    assert "<dt>Redirected by</dt><dd><bdi>Staging</bdi></dd>" in text
    assert "qa@example.com" not in text


def test_a_refusal_names_no_addresses_of_a_redirect(client, make_user, make_set, reload):
    fault = Fault("rcpt", "refuse", "550 5.1.1 <qa@example.com>: no such user")
    with HostileServer(faults=[fault]) as server:
        make_set(server, name="Staging", redirect=True, reports=["qa@example.com"])
        reload()
        client.force_login(make_user("send_test_email"))
        text = send(client)
    assert escape(causes.title("unknown-recipient")) in text
    assert "qa@example.com" not in text


def test_a_failure_comes_with_its_remedy(admin_client, make_set, reload):
    with HostileServer(faults=[Fault("auth", "refuse", "535 5.7.8 Never")]) as server:
        make_set(server, name="Office")
        reload()
        text = send(admin_client)
    assert "The test email was not sent." in text
    assert "<dt>Last attempt</dt><dd><bdi>Office: the first set that applies</bdi></dd>" in text
    assert "The server refused the username or password.</strong> Check both" in text
    assert "535 5.7.8 Never" in text
    assert server.password not in text
    # The recent failures further down show the same.
    assert text.count("The server refused the username or password.</strong>") == 2


def test_a_backup_that_stepped_in(admin_client, make_set, reload, smtp_server):
    with HostileServer(faults=[Fault("connect", "refuse")]) as server:
        make_set(server, name="Office")
        make_set(smtp_server, name="Second", backup=True)
        reload()
        text = send(admin_client)
    assert len(smtp_server.received) == 1
    assert "The test email was sent." in text
    assert "<dt>Sent through</dt><dd><bdi>Second</bdi></dd>" in text
    assert re.search(
        r"<dt>Earlier attempt</dt><dd><bdi>Office: .*Connection refused</bdi></dd>", text
    )


def test_an_outcome_that_nobody_knows(admin_client, make_set, reload):
    with HostileServer(faults=[Fault("end", "close", taken=True)]) as server:
        make_set(server, name="Office")
        reload()
        text = send(admin_client)
    assert "There was no confirmation. The test email may have been sent." in text
    assert 'data-result="warning"' in text


def test_a_redirect_to_nobody(admin_client, configure):
    configure(REDIRECT_ALL_TO=[])
    text = send(admin_client)
    assert causes.title("redirect-without-address") in text
    assert not mail.outbox


def test_queued_delivery_says_so(admin_client, configure, settings):
    settings.TASKS = NO_WORKER
    configure(DELIVERY="queued")
    text = send(admin_client)
    entry = LogEntry.objects.get()
    assert (entry.state, OutboxMessage.objects.count()) == ("queued", 1)
    assert "The test email is queued." in text
    assert reverse("wagtail_smtp_log:entry", args=[entry.pk]) in text
    # Reloaded, the page shows the new state.
    LogEntry.objects.update(state="sent", via="Office")
    assert "The test email was sent." in page_of(admin_client, tested="")


def test_what_the_outbox_tries_again(admin_client, configure, settings, make_set, reload):
    settings.TASKS = NO_WORKER
    configure(RETRY_DEFERRED=True)
    with HostileServer(faults=[Fault("connect", "refuse")]) as server:
        make_set(server, name="Office")
        reload()
        text = send(admin_client)
    assert "It will be tried again." in text
    assert escape(causes.title("refused")) in text


class Echoing(BaseEmailBackend):
    """A project's own backend whose server echoes the password."""

    def send_messages(self, messages):
        raise smtplib.SMTPAuthenticationError(535, f"5.7.8 No: {CANARY}".encode())


def test_nothing_that_a_server_echoes_is_repeated(admin_client, configure, caplog):
    configure(STANDARD={"BACKEND": "tests.admin.delivery.test_page.Echoing"})
    text = send(admin_client)
    assert "The server refused the username or password.</strong>" in text
    for place in (text, caplog.text, str(dict(admin_client.session))):
        assert CANARY not in place


class Talkative(BaseEmailBackend):
    """A project's own backend that raises a custom error with the password in it."""

    def send_messages(self, messages):
        raise RuntimeError(f"login with {CANARY} failed")


@pytest.mark.parametrize("log", ["works", "is down"])
def test_nothing_that_a_backend_tells_is_repeated(admin_client, configure, monkeypatch, log):
    configure(STANDARD={"BACKEND": "tests.admin.delivery.test_page.Talkative"})
    if log == "is down":

        def fail(*arguments):
            raise OperationalError("down")

        monkeypatch.setattr(autonomous, "write", fail)
        monkeypatch.setattr(autonomous, "insert", fail)
    text = send(admin_client)
    assert "RuntimeError" in text
    for place in (text, str(dict(admin_client.session))):
        assert CANARY not in place


def test_mail_that_does_not_come_by_here(admin_client, settings):
    locmem = "django.core.mail.backends.locmem.EmailBackend"
    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {"default": {"BACKEND": locmem}}
    else:
        settings.EMAIL_BACKEND = locmem
    assert "the site&#x27;s email bypasses wagtail-smtp" in send(admin_client)
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    "recipient", ["", "nobody", "a@b.example\nBcc: c@d.example", "ä@b.example"]
)
def test_a_bad_address_is_refused_and_kept(admin_client, recipient):
    data = {"recipient": recipient, "category": "form"}
    response = admin_client.post(reverse(TEST), data)
    assert response.status_code == 200
    form = response.context["test_form"]
    assert list(form.errors) == ["recipient"]
    assert form["category"].value() == "form"
    assert not mail.outbox


def test_an_unknown_category_is_refused(admin_client):
    data = {"recipient": "me@example.org", "category": "x"}
    assert admin_client.post(reverse(TEST), data).context["test_form"].errors.keys() == {"category"}


def test_only_so_many_a_minute(admin_client, client, make_user, monkeypatch):
    # Freeze the clock in the middle of a minute, so that it doesn't end during the test.
    monkeypatch.setattr(views, "time", SimpleNamespace(time=lambda: 1_000_000_000.0))
    for _ in range(5):
        send(admin_client)
    text = send(admin_client, "typed@example.org")
    assert "Try again in 20 seconds." in text
    assert 'value="typed@example.org"' in text
    assert len(mail.outbox) == 5
    client.force_login(make_user("send_test_email"))
    send(client)
    assert len(mail.outbox) == 6


def test_a_cache_that_is_down_stops_nobody(admin_client, settings):
    settings.CACHES = {"default": down_cache.SETTING}
    make_entry()
    assert "The test email was sent." in send(admin_client)


def test_nobody_sees_another_ones_result(admin_client, client, make_user):
    send(admin_client, "boss-only@example.org")
    client.force_login(make_user("send_test_email"))
    text = page_of(client, tested="")
    assert "boss-only" not in text
    assert "The test email" not in text


# What became of messages


def test_failures_of_the_last_week_with_remedies(admin_client):
    make_entry(subject="Too old", ago=8, state="failed")
    make_entry(subject="It arrived", state="sent")
    make_entry(subject="It waits", state="queued")
    for number, state in enumerate(["failed", "refused", "partly_sent", "unknown", "too_large"]):
        make_entry(subject=f"Bad {state}", ago=number, state=state, reason=f"reason {state}")
    text = page_of(admin_client)
    listed = re.findall(r"(Bad \w+|Too old|It arrived|It waits)</bdi></a>", text)
    assert sorted(listed) == [
        "Bad failed", "Bad partly_sent", "Bad refused", "Bad too_large", "Bad unknown"
    ]  # fmt: skip
    assert "reason refused" in text
    assert causes.advice("outcome-unknown") in text


def test_no_more_than_ten_and_the_newest(admin_client, django_assert_max_num_queries):
    for number in range(15):
        make_entry(subject=f"Bad {number:02}", state="failed" if number % 2 else "refused")
    with django_assert_max_num_queries(90):
        text = page_of(admin_client)
    assert re.findall(r"Bad \d\d", text) == [f"Bad {n:02}" for n in range(14, 4, -1)]


def test_the_outbox(admin_client, configure, settings):
    settings.TASKS = NO_WORKER
    assert "This site sends email immediately" in page_of(admin_client)
    configure(DELIVERY="queued")
    assert "The outbox is empty" in page_of(admin_client)
    for _ in range(3):
        make_waiting()
    sending = OutboxMessage.objects.first()
    OutboxMessage.objects.filter(pk=sending.pk).update(state="sending")
    text = page_of(admin_client)
    assert "<dt>Waiting</dt> <dd>2 (" in text
    assert re.search(r"<dt>Being sent</dt> <dd><a [^>]*\?state=sending\">1</a></dd>", text)
    assert "overdue" not in text  # due in an hour
    waits = OutboxMessage.objects.exclude(pk=sending.pk)
    waits.update(due_at=timezone.now() - timedelta(minutes=16))
    text = page_of(admin_client)
    assert "the oldest message is 16 minutes overdue." in text


def test_nothing_at_all(admin_client):
    text = page_of(admin_client)
    assert "Nothing is live yet" in text
    assert reverse("wagtailsnippets_wagtail_smtp_settingsset:add") in text
    assert "No failed email in the last 7 days." in text
    assert "No email was sent in the last 30 days. Send a test email" in text


def test_who_made_what_live(admin_client, make_set, reload):
    make_set(name="Office")
    reload(admin_client.user)
    text = page_of(admin_client)
    link = reverse("wagtail_smtp_versions:index")
    assert f'<strong><a href="{link}">Version 1</a></strong> live.' in text
    assert "Bo made <strong>" in text
    admin_client.user.__class__.objects.filter(pk=admin_client.user.pk).update(first_name="")
    SettingsSet.objects.update(name="Bureau")
    assert "1 change is not live yet." in page_of(admin_client)


def test_standard_delivery_that_is_not_configured(admin_client, configure):
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    configure(STANDARD={"BACKEND": smtp, "OPTIONS": {"host": "localhost", "port": 25}})
    lines = status_of(admin_client)
    assert ("standard", "bad") in lines
    # A mail server on the same machine needs no settings, so a working one is not reported.
    make_entry(state="sent", via=standard.NAME)
    assert status_of(admin_client) == [("works", "good")]


def test_the_status_line_tells_of_a_stuck_outbox(admin_client):
    make_entry(state="sent")
    waiting = make_waiting()
    assert status_of(admin_client) == [("works", "good")]
    late = timezone.now() - timedelta(minutes=16)
    OutboxMessage.objects.filter(entry=waiting).update(due_at=late)
    assert status_of(admin_client) == [ATTENTION, ("outbox", "bad")]


def test_the_status_line_tells_of_a_blocked_redirect(admin_client, configure):
    make_entry(state="sent")
    configure(REDIRECT_ALL_TO=[])
    assert status_of(admin_client) == [ATTENTION, ("redirect", "bad")]


def test_the_status_line_tells_of_a_version_that_cannot_be_read(admin_client, make_set, reload):
    make_set()
    reload()
    ConfigurationVersion.objects.update(format=99)
    lookup.forget()
    assert status_of(admin_client) == [ATTENTION, ("refusal", "bad")]


def headline(client):
    """The text of the first status line."""
    return re.search(r'data-kind="\w+">.*?<span dir="auto">(.*?)</span>', page_of(client)).group(1)


def test_the_first_line_counts_the_last_day(admin_client, make_set, reload):
    for number in range(3):
        make_entry(state="sent", subject=str(number))
    make_entry(state="sent", ago=1.01)
    make_entry(state="failed", ago=0.9, via="Other")
    make_entry(state="sent", via="Other")
    make_entry(state="failed", ago=1.01)
    assert headline(admin_client) == "Email is working. 4 sent in the last 24 hours, 1 failed."
    make_entry(state="failed")
    cache.clear()
    assert headline(admin_client) == (
        "Email needs attention. 4 sent in the last 24 hours, 2 failed."
    )


def test_without_email_in_the_last_day(admin_client):
    assert headline(admin_client) == "Send a test email to find out whether email works."
    make_entry(state="sent", ago=3)
    assert headline(admin_client).startswith("Email is working. The last email was sent on ")
    LogEntry.objects.update(state="queued")
    assert headline(admin_client) == "Send a test email to find out whether email works."


@pytest.mark.parametrize(
    ("position", "text"),
    [(0, "All email is redirected. "), (2, "Email is working, but some of it is redirected. ")],
)
def test_redirected_email_does_not_count_as_working(admin_client, make_set, reload, position, text):
    make_set(categories=["form"], sort_order=1)
    make_set(redirect=True, reports=["qa@example.com"], sort_order=position)
    reload()
    make_entry(state="sent")
    assert status_of(admin_client)[0] == ("works", "unsure")
    assert headline(admin_client).startswith(text)
    assert headline(admin_client).endswith("1 sent in the last 24 hours, 0 failed.")


def test_the_test_email_is_counted_immediately(admin_client):
    assert "Send a test email" in headline(admin_client)
    send(admin_client)
    assert headline(admin_client).endswith("1 sent in the last 24 hours, 0 failed.")
    send(admin_client)
    assert headline(admin_client).endswith("2 sent in the last 24 hours, 0 failed.")


def test_what_fails_soon_is_a_warning(admin_client, make_set, reload):
    make_set()
    reload()
    make_entry(state="sent")
    now = timezone.now()
    days = {"starts_at": now - timedelta(days=84), "expires_at": now + timedelta(days=6)}
    ServerCertificate.objects.create(server="127.0.0.1:587", seen_at=now, **days)
    assert status_of(admin_client) == [("works", "good"), ("expiring", "unsure")]
    assert "renew its certificate" in page_of(admin_client)


def test_who_is_told_when_email_fails(client, make_user, settings, configure):
    client.force_login(make_user(SEE))
    assert "No one is told when email fails." in page_of(client)
    settings.ADMINS = ["ada@example.com"]
    configure(ALERTS=["slack://canary/canary/canary", "ntfy://canary"])
    page = page_of(client)
    assert "Sent to: Email to ADMINS, Slack, ntfy." in page
    assert "canary" not in page


def test_a_failure_leads_to_its_settings_set(client, make_user, make_set):
    item = make_set(name="Office")
    make_entry(set_key=item.key)
    make_entry(via="Deleted")
    edit = reverse("wagtailsnippets_wagtail_smtp_settingsset:edit", args=[item.pk])
    client.force_login(make_user(LOG, "change_settingsset"))
    assert re.findall(r'href="([^"]*)" data-set', page_of(client)) == [edit]
    client.force_login(make_user(LOG, SEE, name="other"))
    assert not re.findall("data-set>", page_of(client))


def test_the_answers_of_name_servers_are_summed_up(admin_client, monkeypatch, make_set, reload):
    def lines():
        found = re.search(r"<dd data-deliverability>(.*?)<a href", page_of(admin_client)).group(1)
        return re.findall("<bdi>(.*?)</bdi>", found)

    make_set(sender_address="shop@example.com")
    reload()
    assert lines() == []
    configuration = lookup.current().configuration
    finding = Finding("SPF", [Note(Verdict.BAD, "No record.")])
    known = report.Report((report.DomainReport("example.com", (), (finding,)),), timezone.now())
    monkeypatch.setattr(report, "stored", {configuration: known}.get)
    assert lines() == ["example.com needs to be fixed."]


@pytest.mark.parametrize(
    ("used", "lines"),
    [
        (0.5, [("works", "good")]),
        (0.85, [("works", "good"), ("store", "unsure")]),
        (1, [ATTENTION, ("store", "bad")]),
    ],
)
def test_the_status_line_tells_of_a_full_store(admin_client, configure, used, lines):
    make_entry(state="sent", message=make_message())
    size = StoredMessage.objects.get().size
    configure(MAX_STORED=int(size / used))
    assert status_of(admin_client) == lines


def test_all_problems_are_told_at_once(admin_client, configure):
    make_entry(state="failed")
    configure(REDIRECT_ALL_TO=[])
    assert status_of(admin_client) == [ATTENTION, ("redirect", "bad"), ("failed", "bad")]


def test_what_needs_action_comes_first_and_details_last(admin_client):
    page = page_of(admin_client)
    panels = [
        "failures",
        "outbox",
        "test",
        "volume",
        "monitoring",
        "live",
        "method",
        "routing",
        "decisions",
    ]
    order = [page.index(part) for part in ("data-tone", *(f'id="{name}-' for name in panels))]
    assert order == sorted(order)
    assert re.search(r'<section class="w-panel collapsed" id="routing-section"', page)


def test_foreign_text_has_a_direction_of_its_own(admin_client, make_set, reload):
    make_entry(subject="[Django] Email", reason="550 5.1.1 No!")
    page = page_of(admin_client)
    assert "<bdi>[Django] Email</bdi>" in page
    assert "<bdi>550 5.1.1 No!</bdi>" in page
    with HostileServer(faults=[Fault("auth", "refuse", "535 5.7.8 Never!")]) as server:
        make_set(server, name="Office")
        reload()
        page = send(admin_client)
    facts = re.findall(r"<dd>(.*?)</dd>", page.partition("data-result")[2].partition("</dl>")[0])
    assert facts
    assert all(re.fullmatch("<bdi>.*</bdi>", fact) for fact in facts)


# The home page


def test_the_home_page_says_how_many_failed(client, make_user):
    make_entry(state="failed", ago=2)
    client.force_login(make_user("view_logentry"))
    home = reverse(HOME)
    assert "No failed email in the last 24 hours" in client.get(home).content.decode()
    make_entry(state="refused")
    make_entry(state="sent")
    assert "1 email failed in the last 24 hours" in client.get(home).content.decode()
    make_entry(state="unknown")
    assert "2 emails failed in the last 24 hours" in client.get(home).content.decode()
    client.force_login(make_user("send_test_email", name="tester"))
    assert "24 hours" not in client.get(home).content.decode()


# A copied database


@pytest.fixture
def copied(smtp_server, make_set, reload, run_in):
    """A process of staging with a copy of production's database; the server of its set."""
    run_in("production")
    make_set(smtp_server, name="Office")
    reload()
    make_waiting("production")
    make_entry(state="failed")
    run_in("staging")
    return smtp_server


def test_in_a_copy_the_first_line_says_that_email_is_held(copied, admin_client, make_user):
    assert status_of(admin_client) == [("held", "bad"), ("failed", "bad")]
    page = page_of(admin_client)
    assert "No email is sent from “staging”" in page
    link = f'<p><a href="{reverse("wagtail_smtp_reload:index")}">Reload application</a></p>'
    assert link in page
    client = Client()
    client.force_login(make_user(LOG))
    assert status_of(client)[0] == ("held", "bad")
    assert link not in page_of(client)
    assert "To let it send email, ask Bo." in page_of(client)


def test_in_a_copy_the_live_version_is_the_others(copied, admin_client):
    page = " ".join(page_of(admin_client).split())
    assert "It was made live in “production”, not here." in page
    assert "email is sent through the sets" not in page


def test_a_live_password_that_cannot_be_read_is_named(admin_client, make_set, reload):
    make_set(name="Office")
    reload()
    assert "unusable" not in dict(status_of(admin_client))
    Secret.objects.update(ciphertext="broken")
    assert dict(status_of(admin_client))["unusable"] == "bad"
    assert "Office: The stored password can&#x27;t be decrypted" in page_of(admin_client)


def test_a_copy_with_a_forced_redirect(copied, admin_client, configure):
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    assert status_of(admin_client)[1] == ("held", "unsure")
    assert "No email is sent" not in page_of(admin_client)
    assert "The test email was sent." in send(admin_client)
    assert [received.recipients for received in copied.received] == [["qa@example.com"]]


def test_the_routes_of_a_copy(copied, admin_client):
    page = page_of(admin_client)
    assert page.count("<td>held</td>") == len(category_choices())
    # On a phone, a dash needs the label too.
    assert page.count('<span class="wsmtp-card-label">Redirected to:</span> –') == len(
        category_choices()
    )


def test_messages_that_came_along_are_counted(copied, admin_client, make_user):
    url = reverse("wagtail_smtp_log:held")
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(hours=1))
    for _attempt in range(2):
        page = page_of(admin_client)
        assert re.search(rf'<dd data-held-messages>1 \(<a href="{url}">', page)
        assert "overdue" not in page
        OutboxMessage.objects.update(state="held")
    client = Client()
    client.force_login(make_user(LOG))
    assert "data-held-messages" in page_of(client)
    assert url not in page_of(client)


def test_own_messages_of_a_copy_are_not_overdue(copied, admin_client):
    OutboxMessage.objects.update(environment="staging", due_at=timezone.now() - timedelta(hours=1))
    assert ("outbox", "bad") not in status_of(admin_client)


@pytest.mark.parametrize("delivery", ["immediate", "queued"])
def test_no_test_email_is_sent_from_a_copy(copied, admin_client, configure, delivery):
    configure(DELIVERY=delivery)
    before = LogEntry.objects.count()
    page = page_of(admin_client)
    assert "data-no-test" in page
    assert f'action="{reverse(TEST)}"' not in page
    page = send(admin_client)
    assert "No test email was sent. These email settings come from “production”." in page
    assert LogEntry.objects.count() == before
    assert not ModelLogEntry.objects.filter(action="wagtail_smtp.test_delivery").exists()


def test_a_test_email_of_an_exempt_category(copied, admin_client, configure):
    configure(STANDARD_CATEGORIES_IN_COPY=["security"])
    assert f'action="{reverse(TEST)}"' in page_of(admin_client)
    assert "The test email was sent." in send(admin_client, category="security")
    assert len(mail.outbox) == 1
    assert "No test email was sent." in send(admin_client, category="form")
