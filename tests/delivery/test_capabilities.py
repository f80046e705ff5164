"""Messages that are too large: what counts, where they go instead, and who is told."""

import asyncio
import base64
import re
from contextlib import suppress
from dataclasses import replace
from email.message import EmailMessage as Parsed
from email.message import MIMEPart
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage

import django
import pytest
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db import connection, transaction

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category, live
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.delivery import announcements, outgoing
from wagtail_smtp.delivery.log import entries, stored_message
from wagtail_smtp.delivery.log import stored_message as log_stored_message
from wagtail_smtp.delivery.outgoing import prepare
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.delivery.routing import Classification
from wagtail_smtp.exceptions import MessageTooLarge
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.outbox.worker import Worker
from wagtail_smtp.transports.base import Envelope, OutgoingMessage

MEGABYTE = outgoing.MEGABYTE


def _mailed(octets):
    """What so many octets of a file are in base64, in lines of 76."""
    return len(base64.encodebytes(b"x" * octets)) + -(-octets // 57)


def _sizes(message):
    """Sizes as found in the message as sent, and as sent from the outbox."""
    prepared = prepare(message)
    now = OutgoingMessage(prepared, Envelope("", ()))
    later = OutgoingMessage(
        stored_message.thaw(stored_message.freeze(prepared).content), Envelope("", ())
    )
    later.message.subject = "[Redirected]"
    found = list(outgoing.attachments(now.content))
    assert list(outgoing.attachments(later.content)) == found
    return found


def _message(*files, body="Body", html=None):
    message = EmailMultiAlternatives("Report", body, "shop@example.com", ["real@example.org"])
    if html:
        message.attach_alternative(html, "text/html")
    for name, content, kind in files:
        message.attach(name, content, kind)
    return message


def test_files_count_as_mailed():
    message = _message(
        ("a.bin", b"\0" * 100_000, "application/octet-stream"),
        ("größe.csv", "ä;b\n" * 100, "text/csv"),
        html="<p>" + "long " * 1000,
    )
    [(first, octets), (_second, of_text)] = _sizes(message)
    assert first == "a.bin"
    # The line break before the boundary is the boundary's.
    assert octets in (_mailed(100_000), _mailed(100_000) - 2)
    assert of_text >= 500


def test_pictures_in_the_text_count_and_those_without_a_name():
    message = _message(html='<img src="cid:logo">')
    if django.VERSION >= (6, 0):
        picture = MIMEPart()
        picture.set_content(b"\0" * 9000, "image", "png", cid="<logo>")
    else:
        picture = MIMEImage(b"\0" * 9000, "png")
    message.attach(picture)
    [(name, octets)] = _sizes(message)
    assert name == ""
    assert octets > 12000


def test_a_message_in_the_message_counts_whole():
    inner = Parsed()
    inner["Subject"] = "Forwarded"
    inner.set_content("Hello\n")
    inner.add_attachment(b"\0" * 5000, maintype="application", subtype="pdf", filename="a.pdf")
    message = _message()
    if django.VERSION >= (6, 0):
        message.attach(inner)
    else:
        message.attach(MIMEMessage(inner))
    [(_name, octets)] = _sizes(message)
    assert 6800 < octets < _mailed(5000) + 1000


def test_texts_to_be_read_do_not_count():
    assert _sizes(_message(body="long\n" * 400_000, html="<p>" + "long " * 1000)) == []
    assert _sizes(_message(body="ä" * 10_000)) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n",
        b'Content-Type: image/\xff; name="=?x?"\r\nContent-Disposition: \xfe\r\n\r\n\xff',
    ],
)
def test_odd_messages(content):
    assert len(list(outgoing.attachments(content))) <= 1


def _check(message, max_size):
    outgoing.check_size(
        OutgoingMessage(message, Envelope("", ())),
        SettingsSetConfig("k", "Main", max_size=max_size),
    )


def test_the_limit_is_met_to_the_octet():
    octets = 57 * (MEGABYTE // 78)
    fits = _message(("a.bin", b"\0" * octets, "application/octet-stream"))
    assert MEGABYTE - 78 < _sizes(fits)[0][1] <= MEGABYTE
    _check(fits, 1)
    above = _message(("a.bin", b"\0" * (octets + 58), "application/octet-stream"))
    with pytest.raises(
        MessageTooLarge, match=r"take 1\.0 MB in the email, and the limit of this set is 1 MB"
    ):
        _check(above, 1)
    _check(above, 2)
    _check(above, None)
    # The sum counts.
    half = ("h.bin", b"\0" * (octets // 2 + 100), "application/octet-stream")
    with pytest.raises(MessageTooLarge):
        _check(_message(half, half), 1)


# Where they go, and who is told.


def _large(megabytes=2, **values):
    message = EmailMessage(
        "Report 2026", "Body", "shop@example.com", ["real@example.org"], **values
    )
    message.attach("a.bin", b"\0" * (megabytes * MEGABYTE // 2), "application/octet-stream")
    message.attach("b.bin", b"\0" * 570_000, "application/octet-stream")
    return message


@pytest.fixture
def user(db):
    return User.objects.create_user("office", "office@example.com")


@pytest.fixture
def limited(make_set, reload, user, admins):
    """A server whose set takes 1 MB; whoever is told is told through it."""
    with HostileServer() as server:
        make_set(server, name="Main", max_size=1, notify_user=user)
        reload()
        yield server


def _told(server):
    return [(r.recipients, r.message) for r in server.received]


def test_it_is_kept_and_one_mail_tells_the_notify_user(limited):
    large = _large(bcc=["hidden@example.org"])
    large.send()
    [(recipients, mail)] = _told(limited)
    assert recipients == ["office@example.com"]
    assert mail["Auto-Submitted"] == "auto-generated"
    entry = LogEntry.objects.get(category="other")
    body = mail.get_payload(decode=True).decode()
    assert "Report 2026" in str(mail["Subject"]) + body
    for part in (
        "Main",
        "real@example.org, hidden@example.org",
        "a.bin (1.4 MB)",
        "b.bin (0.7 MB)",
    ):
        assert part in body
    assert re.search(rf"http://testserver/\S+/{entry.pk}/|entry {entry.pk} ", body)
    assert (entry.state, entry.recipients.first().state) == ("too_large", "not_sent")
    assert log_stored_message.load(entry).to == ["real@example.org"]
    assert LogEntry.objects.get(category="alert").state == "sent"


@pytest.mark.parametrize(
    "change",
    [
        {"is_active": False},
        {"email": ""},
        "gone",
    ],
)
def test_admins_are_told_if_there_is_no_such_user(limited, user, change, admins):
    if change == "gone":
        user.delete()
    else:
        User.objects.filter(pk=user.pk).update(**change)
    _large().send()
    assert [recipients for recipients, _mail in _told(limited)] == [admins]


def test_admins_are_told_if_the_set_names_nobody(make_set, reload, admins):
    with HostileServer() as server:
        make_set(server, max_size=1)
        reload()
        _large().send()
    assert [recipients for recipients, _mail in _told(server)] == [admins]


def test_a_backup_with_room_is_used_and_nobody_is_told(limited, make_set, reload):
    with HostileServer() as roomy:
        make_set(roomy, backup=True, max_size=5)
        reload()
        _large().send()
    assert [r.recipients for r in roomy.received] == [["real@example.org"]]
    assert limited.received == []
    assert LogEntry.objects.get().state == "sent"


def test_the_first_set_says_who_is_told(limited, make_set, reload):
    other = User.objects.create_user("other", "other@example.com")
    with HostileServer() as second:
        make_set(second, backup=True, max_size=1, notify_user=other)
        reload()
        _large().send()
    assert [recipients for recipients, _mail in _told(limited)] == [["office@example.com"]]


@pytest.mark.parametrize("order", ["roomy first", "roomy last"])
def test_it_is_not_too_large_while_a_server_with_room_is_down(make_set, reload, configure, order):
    configure(DELIVERY="queued")
    with HostileServer() as small, HostileServer(faults=[Fault("connect", "close")]) as down:
        values = [(small, {"max_size": 1}), (down, {"timeout": 2})]
        for server, more in values[:: 1 if order == "roomy last" else -1]:
            make_set(server, backup=True, **more)
        reload()
        _large().send()
        _work()
    assert LogEntry.objects.get().state == "deferred"
    assert OutboxMessage.objects.exists()


def test_the_servers_own_limit(make_set, reload, admins):
    size = ("PIPELINING", "SIZE 1000000", "8BITMIME")
    with HostileServer(extensions=size) as server:
        make_set(server)
        reload()
        _large().send()
        [(recipients, _mail)] = _told(server)
    assert recipients == admins
    assert LogEntry.objects.get(category="other").state == "too_large"


def _work():
    worker = Worker()
    try:
        return worker.drain()
    finally:
        worker.close()


def test_in_the_outbox_it_is_final_and_told_once(limited, configure, settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued")
    _large().send()
    assert _work() >= 1
    _work()  # the mail about it
    _work()
    assert [recipients for recipients, _mail in _told(limited)] == [["office@example.com"]]
    entry = LogEntry.objects.get(category="other")
    assert entry.state == "too_large"
    assert log_stored_message.load(entry).to == ["real@example.org"]
    assert not OutboxMessage.objects.exists()
    [(_recipients, mail)] = _told(limited)
    assert "It is kept" in mail.get_payload(decode=True).decode()


def test_a_queued_security_message_is_wiped_and_told_of(limited, configure, settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued", STANDARD_CATEGORIES=())
    with email_category("security"):
        _large().send()
    configure(DELIVERY="immediate")
    _work()
    [(recipients, mail)] = _told(limited)
    assert recipients == ["office@example.com"]
    assert "It is not kept" in mail.get_payload(decode=True).decode()
    assert not StoredMessage.objects.exists()


@pytest.mark.parametrize("why", ["quota", "security"])
def test_what_cannot_be_kept_is_the_callers_error(limited, configure, why):
    configure(STANDARD_CATEGORIES=())
    if why == "quota":
        configure(MAX_STORED=1000)
    category = "security" if why == "security" else "other"
    with email_category(category), pytest.raises(MessageTooLarge):
        _large().send()
    # Of the message itself nobody is told; that there is no room, ADMINS are.
    told = [each.message["Subject"] for each in limited.received]
    assert len(told) == (1 if why == "quota" else 0)
    assert not any("too large" in subject for subject in told)
    assert not StoredMessage.objects.exists()


@pytest.mark.parametrize(("category", "told"), [("other", 1), ("alert", 0)])
def test_an_alert_that_is_too_large_is_not_told_of(limited, category, told):
    # Standard delivery is an alert's last resort; here it has no room either.
    delivery = DeliveryPipeline().try_deliver(_large(), Classification("other", "test"))
    delivery = replace(delivery, classification=Classification(category, "test"))
    announcements.report_too_large(delivery, entries.record(delivery))
    assert len(limited.received) == told


def test_redirected_mail_tells_in_its_redirect(make_set, reload, user):
    with HostileServer() as server:
        make_set(server, max_size=1, notify_user=user, redirect=True, reports=["qa@example.com"])
        reload()
        _large().send()
    [(recipients, mail)] = _told(server)
    assert recipients == ["qa@example.com"]
    assert "Recipients: qa@example.com" in mail.get_payload(decode=True).decode()


def test_a_mail_that_cannot_be_sent_changes_nothing(limited, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError("no")

    monkeypatch.setattr(announcements, "_text", fail)
    assert _large().send() == 1
    assert "could be notified" in caplog.text


def test_without_the_admins_pages_the_entrys_number_is_named(limited, settings):
    settings.WAGTAILADMIN_BASE_URL = None
    _large().send()
    entry = LogEntry.objects.get(category="other")
    [(_recipients, mail)] = _told(limited)
    assert f"entry {entry.pk} of the delivery log" in mail.get_payload(decode=True).decode()


def test_long_lists_are_cut(limited):
    message = _large(cc=[f"c{n}@example.org" for n in range(100)])
    for n in range(30):
        message.attach(f"{n}.txt", "text", "text/plain")
    message.send()
    [(_recipients, mail)] = _told(limited)
    body = mail.get_payload(decode=True).decode()
    assert "and 81 more" in body
    assert "and 12 more" in body


@pytest.mark.django_db(transaction=True)
class TestWhereTheDatabaseMayNotBeAsked:
    def test_in_a_broken_transaction(self, limited):
        with transaction.atomic():
            transaction.set_rollback(True)
            with suppress(MessageTooLarge):
                _large().send()
        told = [recipients for recipients, _mail in _told(limited)]
        # On SQLite there is no writing beside it, and the caller gets the error.
        assert told == ([] if connection.vendor == "sqlite" else [["office@example.com"]])

    def test_in_an_event_loop(self, limited):
        async def send():
            return _large().send()

        assert asyncio.run(send()) == 1
        assert [recipients for recipients, _mail in _told(limited)] == [["office@example.com"]]

    def test_in_an_event_loop_without_room(self, limited, configure):
        configure(MAX_STORED=1000)

        async def send():
            return _large().send()

        with pytest.raises(MessageTooLarge):
            asyncio.run(send())


# The quota.


def _entry():
    return LogEntry.objects.create(state="failed", category="other")


def test_each_process_oversteps_the_quota_by_what_others_store_in_a_minute(
    db, configure, monkeypatch
):
    configure(MAX_STORED=1000)
    here, there = log_stored_message._Usage(), log_stored_message._Usage()

    def keep(usage, octets):
        monkeypatch.setattr(log_stored_message, "_usage", usage)
        log_stored_message.keep(_entry(), b"x" * octets)

    keep(here, 200)  # 356 as stored
    keep(there, 200)
    keep(here, 200)  # it knows of none but its own
    with pytest.raises(log_stored_message.StorageFull):
        keep(here, 200)
    stored = [message.size for message in StoredMessage.objects.all()]
    assert sum(stored) > 1000
    # After a minute both know, and until there is room nobody stores any more.
    for usage in (here, there):
        usage._known_until = 0
        with pytest.raises(log_stored_message.StorageFull):
            keep(usage, 1)
    StoredMessage.objects.all().delete()
    # Whoever was refused asks again at the next message.
    keep(here, 200)


@pytest.mark.threat(27)
def test_above_the_quota_an_entry_is_metadata_alone(configure, make_set, reload, caplog):
    configure(MAX_STORED=10)
    with HostileServer(faults=[Fault("connect", "close")]) as server:
        make_set(server, timeout=2)
        live.reload()
        with pytest.raises(OSError):
            EmailMessage("Hi", "Body", "a@example.com", ["b@example.org"]).send()
    entry = LogEntry.objects.get()
    assert (entry.state, entry.recipients.count(), hasattr(entry, "stored")) == ("failed", 1, False)
    assert "not stored" in caplog.text
