"""A walk through what an administrator does: ``python -m tests.configurations.walk``.

The steps are run in the order in which they are written, each on what those before it left, in
a process of their own: how the project is configured is decided by ``WALK`` and the database by
tests/settings.py. Each step that fails is printed with its traceback; the exit code is then 1.
"""

import csv
import io
import json
import logging
import os
import re
import sys
import time
import traceback
from base64 import b64encode
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.configurations.walk_settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.mail import EmailMessage, send_mail  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.template import Template  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from django.test.utils import instrumented_test_render  # noqa: E402
from django.urls import get_script_prefix, reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from tests.support.payloads import SAMPLES  # noqa: E402
from tests.support.servers.smtp_server import SMTPServer  # noqa: E402
from wagtail_smtp import live, tracking  # noqa: E402
from wagtail_smtp.admin.banner import banner_for  # noqa: E402
from wagtail_smtp.exceptions import EmailDeliveryError  # noqa: E402
from wagtail_smtp.live import token_store  # noqa: E402
from wagtail_smtp.models import (  # noqa: E402
    ConfigurationVersion,
    DeliveryEvent,
    LogEntry,
    LogRecipient,
    OAuthToken,
    OutboxMessage,
    SettingsSet,
    StoredMessage,
    SummarySubscription,
)
from wagtail_smtp.runtime.project import address_of  # noqa: E402
from wagtail_smtp.summary import sending, subscriptions  # noqa: E402

User = get_user_model()
SETS = "wagtailsnippets_wagtail_smtp_settingsset"
LOG = "wagtail_smtp_log"
#: Pages that need nothing of their own.
PAGES = (
    "wagtailadmin_home",
    f"{SETS}:list",
    f"{SETS}:add",
    "wagtail_smtp_delivery:index",
    "wagtail_smtp_reload:index",
    "wagtail_smtp_versions:index",
    "wagtail_smtp_log:index",
    "wagtail_smtp_log:export",
    "wagtail_smtp_troubleshooting:index",
    "wagtailusers_groups:add",
    "wagtailadmin_reports:site_history",
)
QUEUED = {"WAGTAIL_SMTP": settings.WAGTAIL_SMTP | {"DELIVERY": "queued"}}
QUEUED["TASKS"] = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


class Visitor(Client):
    """A browser. Its paths have the prefix of the site, as a web server hands them on."""

    def generic(self, method, path, *args, **kwargs):
        return super().generic(method, path.removeprefix(PREFIX), *args, **kwargs)

    def see(self, name, /, *args, **query):
        response = self.get(reverse(name, args=args), query)
        assert response.status_code == 200, (name, response.status_code)
        return response

    def send(self, name, /, *args, status=302, **data):
        response = self.post(reverse(name, args=args), data)
        assert response.status_code == status, (name, response.status_code, response.content[:2000])
        return response


PREFIX = get_script_prefix().rstrip("/")
browser = Visitor()


def new_user(name):
    has_email = any(field.name == "email" for field in User._meta.fields)
    values = {"email": f"{name}@example.com"} if has_email else {}
    if User.USERNAME_FIELD != "email":
        values[User.USERNAME_FIELD] = name
    return User._default_manager.create(is_superuser=True, is_active=True, **values)


def form(reports=(), **values):
    """What the form of a set posts."""
    data = {
        "name": "Office",
        "enabled": "on",
        "transport": "smtp",
        "host": "127.0.0.1",
        "port": str(server.port),
        "encryption": "none",
        "timeout": "5",
        "authentication": "none",
        "sender_address": "office@example.com",
        "report_emails-TOTAL_FORMS": str(len(reports)),
        "report_emails-INITIAL_FORMS": "0",
        "report_emails-MIN_NUM_FORMS": "0",
        "report_emails-MAX_NUM_FORMS": "1000",
    }
    for number, address in enumerate(reports):
        begin = f"report_emails-{number}"
        data |= {f"{begin}-address": address, f"{begin}-enabled": "on", f"{begin}-id": ""}
        data[f"{begin}-ORDER"] = str(number + 1)
    return data | values


def office():
    return SettingsSet.objects.get(name="Office")


def reload(**data):
    plan = browser.see("wagtail_smtp_reload:index").context["plan"]
    browser.send("wagtail_smtp_reload:index", token=plan.token, **data)


def last_line(response):
    """The result of a test, which comes as lines of JSON."""
    assert response.status_code == 200, response.status_code
    content = response.getvalue()
    return json.loads(content.splitlines()[-1])


def body_of(response):
    assert response.status_code == 200, response.status_code
    return response.getvalue()


def send_failing(subject):
    server.data_reply = "451 4.3.0 Later"
    message = EmailMessage(subject, "text", None, ["fail@example.org"])
    message.attach("file.bin", b"\0\1\2" * 1000, "application/octet-stream")
    try:
        message.send()
    except EmailDeliveryError:
        return
    finally:
        server.data_reply = ""
    raise AssertionError("It was sent.")


# The steps


def the_checks_find_nothing_wrong():
    call_command("check", fail_level="ERROR")


def the_models_have_no_changes():
    call_command("makemigrations", "wagtail_smtp", check=True, dry_run=True)


def every_page_opens():
    for name in PAGES:
        browser.see(name)


def static_files_have_the_names_of_the_manifest():
    if not settings.STATIC_ROOT:
        return
    assert PREFIX == "" or settings.STATIC_URL.startswith(f"{PREFIX}/")
    ours = set()
    for name in PAGES:
        text = browser.see(name).content.decode()
        for start, found in re.findall(r'["\']([/\w]*/static/)([^"\'?#]+\.\w+)', text):
            assert start == settings.STATIC_URL, (name, start, found)
            assert os.path.isfile(os.path.join(settings.STATIC_ROOT, found)), (name, found)
            if found.startswith("wagtail_smtp/"):
                ours.add(found)
    assert ours
    assert all(re.search(r"\.[0-9a-f]{12}\.\w+$", found) for found in ours), ours


def add_a_set():
    browser.send(f"{SETS}:add", **form(notify_user=str(second.pk)))
    for page in ("edit", "history", "usage", "delete", "copy", "test_connection"):
        browser.see(f"{SETS}:{page}", office().pk)


def a_stale_save_is_refused():
    SettingsSet.objects.update(revision=5)
    browser.send(f"{SETS}:edit", office().pk, status=200, **form(loaded_revision="1", port="26"))
    assert office().port == server.port
    values = form(loaded_revision="5", notify_user=str(second.pk))
    browser.send(f"{SETS}:edit", office().pk, **values)


def choose_a_user():
    choose = "wagtail_smtp_notify_user"
    browser.see(f"{choose}:choose")
    assert b"second" in browser.see(f"{choose}:choose_results", q="second").content
    browser.see(f"{choose}:chosen", second.pk)


def test_a_set_before_it_is_live():
    pk = office().pk
    browser.see(f"{SETS}:send_test_email", pk)
    address = {"test_address": "test@example.org"}
    revision = str(office().revision)
    for name, data in (
        ("test_typed", form(loaded_revision=revision, test="connection")),
        ("test_connection", {}),
        ("send_test_email", address),
    ):
        told = last_line(browser.post(reverse(f"{SETS}:{name}", args=[pk]), data))
        assert told["ok"], (name, told)


def make_it_live():
    reload()
    assert ConfigurationVersion.objects.count() == 1
    browser.see("wagtail_smtp_versions:index")


def send():
    before = len(server.received)
    send_mail("Hello 🎉 Ünïcode", "text", None, ["Anna@Example.org"])
    message = EmailMessage("x" * 400, "text", None, ["b@example.org"], cc=["c@example.org"])
    message.bcc = ["d@example.org"]
    message.attach("a.txt", "text", "text/plain")
    message.send()
    assert len(server.received) == before + 2
    entry, first = LogEntry.objects.order_by("-pk")[:2]
    assert (entry.state, first.state) == ("sent", "sent")
    assert "🎉" in first.subject
    assert abs(timezone.now() - entry.created_at) < timedelta(minutes=1)
    assert (entry.recipients.count(), entry.attempts.count()) == (3, 1)


def send_inside_a_transaction_that_is_rolled_back():
    before = LogEntry.objects.count()
    try:
        with transaction.atomic():
            User._default_manager.filter(pk=second.pk).update(is_active=True)
            send_mail("Rolled back", "text", None, ["r@example.org"])
            raise KeyError
    except KeyError:
        pass
    # SQLite lets one connection write at a time: there it is written once more, after the rollback.
    deadline = time.monotonic() + 60
    while LogEntry.objects.count() == before and time.monotonic() < deadline:
        time.sleep(0.05)
    [entry] = LogEntry.objects.filter(subject="Rolled back")
    assert LogEntry.objects.count() == before + 1
    assert (entry.state, entry.recipients.count()) == ("sent", 1)


def what_fails_is_kept():
    send_failing("Failing")
    send_failing("Failing too")
    assert StoredMessage.objects.count() == 2


def find_messages():
    today = f"{timezone.template_localtime(timezone.now()):%Y-%m-%d}"
    for query in (
        {"state": "sent"},
        {"category": "other"},
        {"via": "Office"},
        {"recipient": "anna@example.org"},
        {"recipient": "example.org"},
        {"created_at_from": today, "created_at_to": today},
        {"q": "ello"},
        {"q": "anna@example.org"},
        {"q": "🎉"},
        {"q": "HELLO", "state": "sent", "created_at_from": today},
        {"created_at_from": "1999-01-01", "created_at_to": "2300-01-01"},
    ):
        found = browser.see(f"{LOG}:index", **query).context["page_obj"].paginator.count
        assert found, query
    browser.see(f"{LOG}:results", state="failed")
    browser.see(f"{LOG}:index", before="3")


def export_the_log():
    export = reverse(f"{LOG}:export")
    rows = list(csv.reader(io.StringIO(body_of(browser.post(export, {"format": "csv"})).decode())))
    assert len(rows) == 1 + LogEntry.objects.count()
    body_of(browser.post(f"{export}?q=hello", {"format": "xlsx"}))


def look_at_an_entry():
    pk = LogEntry.objects.get(subject="Failing too").pk
    browser.see(f"{LOG}:resend", pk)
    page_of_entry = browser.see(f"{LOG}:entry", pk).content.decode()
    for page in ("frame", "source", "download"):
        response = browser.get(reverse(f"{LOG}:{page}", args=[pk]))
        assert response.status_code in (200, 302), (page, response.status_code)
    files = reverse(f"{LOG}:attachment", args=[pk, 0]).removesuffix("0/")
    number = re.search(f'"{files}([0-9]+)/"', page_of_entry)
    assert number, "no link to the attachment"
    body_of(browser.get(reverse(f"{LOG}:attachment", args=[pk, number[1]])))


def resend_one():
    before = len(server.received)
    pk = LogEntry.objects.get(subject="Failing").pk
    seen = browser.see(f"{LOG}:resend", pk).context["seen"]
    browser.send(f"{LOG}:resend", pk, seen=seen)
    assert len(server.received) == before + 1


def resend_what_is_selected():
    before = len(server.received)
    pk = LogEntry.objects.filter(subject="Failing too", state="failed").get().pk
    url = reverse("wagtail_bulk_action", args=["wagtail_smtp", "logentry", "resend"])
    seen = browser.get(url, {"id": pk}).context["seen"]
    response = browser.post(f"{url}?id={pk}", {"seen": seen})
    assert response.status_code == 302, response.status_code
    assert len(server.received) == before + 1


def send_a_test_email():
    browser.send("wagtail_smtp_delivery:test", recipient="t@example.org", category="test")
    browser.see("wagtail_smtp_delivery:index")


def a_summary_is_sent():
    browser.see("wagtailadmin_account")
    subscriptions.choose(second, "daily")
    long_ago = timezone.now().date() - timedelta(days=7)
    SummarySubscription.objects.update(sent_until=long_ago)
    before = len(server.received)
    assert sending.send_due() == bool(address_of(second))
    assert len(server.received) - before == bool(address_of(second))
    call_command("smtp_summary")


@override_settings(**QUEUED)
def queue_messages():
    before = len(server.received)
    for number in range(4):
        send_mail(f"Queued {number}", "text", None, [f"q{number}@example.org"])
    assert len(server.received) == before
    first, *_rest, last = LogEntry.objects.filter(state="queued").order_by("pk")
    browser.see(f"{LOG}:entry", first.pk)
    browser.see(f"{LOG}:try_now", first.pk)
    browser.send(f"{LOG}:try_now", first.pk)
    browser.send(f"{LOG}:cancel", last.pk)
    browser.see("wagtail_smtp_delivery:index")
    call_command("smtp_outbox")
    call_command("smtp_outbox", once=True)
    assert len(server.received) == before + 3, OutboxMessage.objects.values()


@override_settings(**QUEUED)
def what_is_deferred_is_due_soon():
    server.data_reply = "451 4.3.0 Later"
    send_mail("Deferred", "text", None, ["deferred@example.org"])
    call_command("smtp_outbox", once=True)
    server.data_reply = ""
    entry = LogEntry.objects.get(subject="Deferred")
    assert entry.state == "deferred", entry.reason
    # As the commands and the alarm tell the time.
    due = OutboxMessage.objects.get(entry=entry).due_at - timezone.now()
    assert timedelta(seconds=20) < due < timedelta(seconds=100), due
    browser.see("wagtail_smtp_delivery:index")
    browser.see(f"{LOG}:entry", entry.pk)
    browser.send(f"{LOG}:cancel", entry.pk)


def every_command_runs():
    for command in (
        ["smtp_explain", "form"],
        ["smtp_prune"],
        ["smtp_rotate_keys"],
        ["smtp_erase", "anna@example.org", "--dry-run"],
        ["smtp_erase", "anna@example.org"],
        ["smtp_test", "a@example.com"],
        ["smtp_test", "--set", "Office"],
        ["smtp_reload"],
    ):
        call_command(*command)
    for command in (["smtp_status"], ["smtp_status", "--json"]):
        try:
            call_command(*command)
        except SystemExit as error:
            assert error.code == 1  # there were failures


def old_entries_are_removed():
    entry = LogEntry.objects.filter(state="sent").first()
    LogEntry.objects.filter(pk=entry.pk).update(created_at=timezone.now() - timedelta(days=91))
    call_command("smtp_prune")
    assert not LogEntry.objects.filter(pk=entry.pk).exists()


def an_email_provider_reports():
    if sys.modules.get("anymail", sys) is None:
        return  # It can't be chosen then.
    item = SettingsSet.objects.create(
        name="Provider", transport="postmark", authentication="none", enabled=False
    )
    browser.see(f"{SETS}:edit", item.pk)
    browser.see("wagtail_smtp_tracking:set", item.pk)
    path = reverse("wagtail_smtp:webhook", args=[item.key, "postmark"])
    tracking.renew(item, f"http://testserver{path}")
    asked, sample = tracking.of_set(item), SAMPLES["postmark"]
    address = "recipient@example.com"
    entry = LogEntry.objects.create(
        state="sent", category="form", category_source="default", via="PM", set_key=item.key
    )
    LogRecipient.objects.create(
        entry=entry,
        address=address,
        domain="example.com",
        state="sent",
        provider_id=sample.message_id,
    )
    post = sample.post(sample.delivered(address, sample.message_id), url=asked.url)
    login = b64encode(f"webhook:{asked.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}"} | post.headers
    reported = Visitor().post(path, data=post.body, content_type=post.content_type, headers=headers)
    assert reported.status_code == 200, reported.status_code
    assert LogRecipient.objects.get(entry=entry).reported == "delivered"
    assert DeliveryEvent.objects.count() == 1
    browser.see(f"{LOG}:entry", entry.pk)


def a_token_is_kept():
    lasts = token_store.from_seconds(1.9e9)
    row = OAuthToken.objects.create(fingerprint="walk", expires_at=lasts)
    row.refresh_from_db()
    assert row.expires_at == lasts
    row.delete()


def redirect_and_end_it():
    revision = str(office().revision)
    values = form(["qa@example.com"], loaded_revision=revision, redirect="on")
    browser.send(f"{SETS}:edit", office().pk, **values)
    reload()
    assert b"qa@example.com" in browser.see("wagtailadmin_home").content
    again = "wagtail_smtp_reload:make_live"
    token = browser.see(again, 1).context["plan"].token
    browser.send(again, 1, token=token, end_redirect="1")
    assert ConfigurationVersion.objects.count() == 3


def the_banner_tells_of_failures():
    cache.clear()
    send_failing("For the banner")
    request = browser.see("wagtailadmin_home").wsgi_request
    assert banner_for(request).kind == "failed"


def send_too_large(subject):
    message = EmailMessage(subject, "text", None, ["large@example.org"])
    message.attach("large.bin", os.urandom(1_500_000), "application/octet-stream")
    message.send()
    entry = LogEntry.objects.get(subject=subject)
    assert entry.state == "too_large"
    assert entry.stored
    browser.see(f"{LOG}:entry", entry.pk)


def too_large():
    SettingsSet.objects.filter(name="Office").update(max_size=1)
    live.reload(user=second)
    send_too_large("Large")


def users_are_deleted():
    second.delete()
    third = new_user("third")
    boss.delete()
    browser.force_login(third)
    for name in PAGES:
        browser.see(name)
    browser.see(f"{SETS}:edit", office().pk)
    send_too_large("Large again")


def copy_order_and_delete():
    browser.send(f"{SETS}:copy", office().pk, **form(name="Copy"))
    copy = SettingsSet.objects.get(name="Copy")
    moved = browser.post(reverse(f"{SETS}:reorder", args=[copy.pk]) + "?position=0")
    assert moved.status_code == 200
    browser.send(f"{SETS}:delete", copy.pk)
    assert not SettingsSet.objects.filter(name="Copy").exists()


def everything_is_dumped():
    call_command("rebuild_references_index", verbosity=0)
    call_command("dumpdata", "wagtail_smtp", stdout=io.StringIO())


def the_database_sessions_have_the_settings_of_the_project():
    if connection.vendor == "sqlite":
        return
    for _ in range(10):
        connection.close()  # With a pool or PgBouncer, another session comes next.
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(
                    "SELECT name, setting FROM pg_settings WHERE setting <> reset_val"
                    " AND name IN ('statement_timeout', 'lock_timeout')"
                )
            else:
                cursor.execute(
                    "SELECT @@innodb_lock_wait_timeout"
                    " WHERE @@innodb_lock_wait_timeout <> @@global.innodb_lock_wait_timeout"
                )
            changed = cursor.fetchall()
            assert not changed, changed


def main():
    """The number of steps that failed."""
    failed = 0
    for step in STEPS:
        print(f"== {step.__name__}", flush=True)
        try:
            step()
        except BaseException:
            failed += 1
            print("FAILED", traceback.format_exc())
    print(f"{len(STEPS)} steps, {failed} failed")
    return failed


STEPS = [
    the_checks_find_nothing_wrong,
    the_models_have_no_changes,
    every_page_opens,
    static_files_have_the_names_of_the_manifest,
    add_a_set,
    a_stale_save_is_refused,
    choose_a_user,
    test_a_set_before_it_is_live,
    make_it_live,
    send,
    send_inside_a_transaction_that_is_rolled_back,
    what_fails_is_kept,
    find_messages,
    export_the_log,
    look_at_an_entry,
    resend_one,
    resend_what_is_selected,
    send_a_test_email,
    a_summary_is_sent,
    queue_messages,
    what_is_deferred_is_due_soon,
    every_command_runs,
    old_entries_are_removed,
    an_email_provider_reports,
    a_token_is_kept,
    redirect_and_end_it,
    the_banner_tells_of_failures,
    too_large,
    users_are_deleted,
    copy_order_and_delete,
    everything_is_dumped,
    the_database_sessions_have_the_settings_of_the_project,
]

if __name__ == "__main__":
    logging.disable(logging.ERROR)
    call_command("migrate", verbosity=0)
    if settings.STATIC_ROOT:
        call_command("collectstatic", interactive=False, verbosity=0)
    # What Django's test runner does for the client's ``response.context``; the rest of it, such
    # as another email backend, would be in the way.
    Template._render = instrumented_test_render
    boss, second = new_user("boss"), new_user("second")
    browser.force_login(boss)
    with SMTPServer(encryption="none", auth=False) as server:
        sys.exit(1 if main() else 0)
