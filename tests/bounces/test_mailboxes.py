"""Mailboxes as Dovecot serves them, and bounces as Postfix returns them."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.support import bounces
from tests.support.servers.dovecot import Dovecot, require_dovecot
from tests.support.servers.postfix import Postfix, require_postfix
from tests.support.servers.smtp_server import SMTPServer
from wagtail_smtp import live
from wagtail_smtp.bounces import record
from wagtail_smtp.bounces.mailboxes import read, with_mailbox
from wagtail_smtp.config.values import TokenSource
from wagtail_smtp.diagnostics.check_set import try_set
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live.resolve import mailbox_config
from wagtail_smtp.models import BounceSource, DeliveryEvent, LogEntry, SettingsSet
from wagtail_smtp.transports import imap
from wagtail_smtp.transports.imap import Mailbox

pytestmark = pytest.mark.same_on_all_versions


@pytest.fixture(scope="module")
def _dovecot():
    require_dovecot()
    with Dovecot() as server:
        yield server


@pytest.fixture
def dovecot(_dovecot):
    """A mailbox server whose mailbox is empty."""
    for path in _dovecot.mailbox.glob("*/*.test*"):
        path.unlink()
    return _dovecot


@pytest.fixture
def item(dovecot, make_set, reload):
    """A live set with a mailbox: ``item(mailbox_folder=…)``."""

    def make(**values):
        defaults = {
            "bounce_address": "bounces@example.com",
            "bounce_separator": "+",
            "mailbox_host": "127.0.0.1",
            "mailbox_port": dovecot.ssl_port,
            "username": dovecot.username,
            "password": dovecot.password,
        }
        make_set(**(defaults | values))
        reload()
        [found] = with_mailbox()
        return found

    return make


def _reported(entry):
    entry.refresh_from_db()
    return entry.reported


def test_a_bounce_in_a_mailbox_is_recorded_and_nothing_in_it_changes(dovecot, item, sent_to):
    entry, address = sent_to()
    dovecot.add(bounces.report(address, bounces.fields()))
    found = item()
    assert read(found) is False
    assert _reported(entry) == "bounced"
    [name] = [name for name in dovecot.flags() if ".test" in name]
    assert not name.partition(":2,")[2]  # unread
    source = BounceSource.objects.get()
    assert (source.recorded, source.failing_since) == (1, None)


@pytest.mark.parametrize("encryption", ["ssl", "starttls"])
@pytest.mark.parametrize("login", ["password", "token"])
def test_ways_to_log_in(dovecot, item, encryption, login):
    port = dovecot.ssl_port if encryption == "ssl" else dovecot.port
    found = item(mailbox_encryption=encryption, mailbox_port=port)
    server = mailbox_config(found, live.current().transport(found).config)

    class Tokens(TokenSource):
        def current(self):
            return "expired"

        def renewed(self, rejected):
            return dovecot.token()

    if login == "token":
        server = replace(server, password="", tokens=Tokens())
    with Mailbox(server, "INBOX", 60) as mailbox:
        assert mailbox.number == 0


def test_other_messages_are_not_read(dovecot, item, sent_to, monkeypatch):
    """The mailbox may be a person's."""
    _entry, address = sent_to()
    for content in (
        b"From: someone@example.org\nTo: bounces@example.com\n\nHello.\n",
        bounces.report("bounces@example.com", bounces.fields()),
        bounces.vacation(address),
    ):
        dovecot.add(content)
    fetched = []
    content = Mailbox.content
    monkeypatch.setattr(Mailbox, "content", lambda *args: fetched.append(args[1]) or content(*args))
    read(item())
    assert len(fetched) == 1
    source = BounceSource.objects.get()
    assert (source.recorded, source.ignored, source.unverified) == (0, 1, 1)


def test_each_message_is_read_once(dovecot, item, sent_to, monkeypatch):
    found = item()
    entries = [sent_to() for _number in range(5)]
    for _entry, address in entries[:3]:
        dovecot.add(bounces.report(address, bounces.fields()))
    read(found)
    processed = []
    process = record.process
    monkeypatch.setattr(record, "process", lambda *args: processed.append(1) or process(*args))
    read(found)
    assert not processed
    for _entry, address in entries[3:]:
        dovecot.add(bounces.report(address, bounces.fields()))
    read(found)
    assert len(processed) == 2
    assert {_reported(entry) for entry, _address in entries} == {"bounced"}
    assert BounceSource.objects.get().recorded == 5


def test_another_process_at_the_same_time_counts_nothing_twice(dovecot, item, sent_to, monkeypatch):
    _entry, address = sent_to()
    dovecot.add(bounces.report(address, bounces.fields()))
    found = item()
    process = record.process

    def while_another_reads(*args):
        monkeypatch.setattr(record, "process", process)
        read(found)
        return process(*args)

    monkeypatch.setattr(record, "process", while_another_reads)
    read(found)
    assert BounceSource.objects.get().recorded == 1
    assert DeliveryEvent.objects.count() == 1


def test_after_an_error_nothing_is_lost(dovecot, item, sent_to, monkeypatch):
    entry, address = sent_to()
    dovecot.add(bounces.report(address, bounces.fields()))
    found = item()
    with monkeypatch.context() as patch:

        def fail(*args):
            raise RuntimeError("killed")

        patch.setattr(record, "process", fail)
        with pytest.raises(RuntimeError):
            read(found)
    read(found)
    assert _reported(entry) == "bounced"


def test_a_message_that_the_server_cannot_return_is_set_aside(dovecot, item, sent_to, monkeypatch):
    _entry, address = sent_to()
    later, other = sent_to()
    dovecot.add(bounces.report(address, bounces.fields()))
    dovecot.add(bounces.report(other, bounces.fields()))
    found, content, bad = item(), Mailbox.content, []

    def fail(self, number, size):
        bad[:] = bad or [number]
        if number == bad[0]:
            with self._errors("mailbox"):
                raise OSError("the server closed the connection")
        return content(self, number, size)

    monkeypatch.setattr(Mailbox, "content", fail)
    refused = 0
    while True:
        try:
            read(found)
        except EmailDeliveryError:
            refused += 1
        else:
            break
    # Once more if there are numbers before its own that no message has.
    assert refused in (4, 5)
    assert _reported(later) == "bounced"
    source = BounceSource.objects.get()
    assert (source.recorded, source.unreadable) == (1, 1)


def test_a_large_mailbox_is_read_in_steps(dovecot, item, sent_to, monkeypatch):
    monkeypatch.setattr(imap, "_STEP", 2)
    entries = [sent_to() for _number in range(5)]
    for _entry, address in entries:
        dovecot.add(bounces.report(address, bounces.fields()))
        dovecot.add(b"Subject: Hello\n\nHello.\n")
    found = item()
    steps, headers = [], Mailbox.headers
    monkeypatch.setattr(
        Mailbox, "headers", lambda *args: steps.append(len(args[1])) or headers(*args)
    )
    with monkeypatch.context() as patch:
        # The time is up after a step.
        patch.setattr(Mailbox, "left", property(lambda self: 0.5 if steps else 60))
        assert read(found) is True
    assert len(steps) == 1
    assert read(found) is False
    assert max(steps) == 2
    assert {_reported(entry) for entry, _address in entries} == {"bounced"}
    assert BounceSource.objects.get().recorded == 5


def test_old_messages_are_left_out(dovecot, item, sent_to):
    found = item()
    server = mailbox_config(found, live.current().transport(found).config)
    for _number in range(3):
        dovecot.add(b"Subject: Hello\n\nHello.\n")
    with Mailbox(server, "INBOX", 60) as mailbox:
        # The server's date is that of its own time zone, which may be a day ahead.
        later = timezone.now().date() + timedelta(days=2)
        [(last, numbers)] = mailbox.after(0, later)
        assert (numbers, last > 0) == ([], True)


def test_another_folder_starts_at_its_beginning(dovecot, item, sent_to):
    entry, address = sent_to()
    dovecot.add(b"Subject: Hello\n\nHello.\n")
    read(item())
    BounceSource.objects.update(last_number=1000)
    dovecot.add(bounces.report(address, bounces.fields()), folder="Bounces")
    SettingsSet.objects.update(mailbox_folder="Bounces")
    live.reload()
    read(with_mailbox()[0])
    assert _reported(entry) == "bounced"


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"mailbox_folder": "Nothing"}, "mailbox-folder"),
        ({"mailbox_port": 1}, "mailbox-unreachable"),
        ({"mailbox_encryption": "starttls"}, "mailbox-unreachable"),
        ({"mailbox_host": "169.254.169.254"}, "not-allowed"),
    ],
    ids=["folder", "port", "encryption", "metadata"],
)
def test_the_test_explains_what_is_wrong(dovecot, item, smtp_server, values, cause):
    item(**({"port": smtp_server.port} | values))
    *before, last = try_set(SettingsSet.objects.get())
    assert all(result.cause is None for result in before)
    assert (last.stage.name, last.cause.slug) == ("mailbox", cause)
    if cause == "mailbox-folder":
        assert last.cause.example.replace("Bounces", "Nothing") in last.stage.error.reply


@pytest.mark.parametrize("encryption", ["ssl", "starttls"])
def test_only_a_valid_certificate_is_trusted(dovecot, item, encryption):
    port = dovecot.ssl_port if encryption == "ssl" else dovecot.port
    found = item(mailbox_encryption=encryption, mailbox_port=port)
    server = mailbox_config(found, live.current().transport(found).config)
    stage = imap.check_mailbox(replace(server, ca_certificates=""), "INBOX")
    assert "CERTIFICATE_VERIFY_FAILED" in str(stage.error)


def test_the_test_tells_what_is_in_the_mailbox(dovecot, item, smtp_server):
    dovecot.add(b"Subject: Hello\n\nHello.\n")
    item(port=smtp_server.port)
    *_before, last = try_set(SettingsSet.objects.get())
    assert (last.stage.name, last.stage.details) == ("mailbox", {"messages": 1})


def test_a_refused_login_is_explained_without_the_password(dovecot, item):
    found = item(password="something else")
    with pytest.raises(EmailDeliveryError) as caught:
        read(found)
    assert caught.value.phase == "auth"
    assert "something else" not in str(caught.value)
    source = BounceSource.objects.get()
    assert source.failing_since is not None
    assert source.failure == str(caught.value)


def test_the_command_reads_all_mailboxes(dovecot, item, sent_to):
    entry, address = sent_to()
    dovecot.add(bounces.report(address, bounces.fields()))
    item()
    call_command("smtp_bounces", stdout=StringIO())
    assert _reported(entry) == "bounced"


def test_the_command_says_which_mailbox_cannot_be_read(dovecot, item):
    item(mailbox_folder="Nothing")
    errors = StringIO()
    with pytest.raises(CommandError):
        call_command("smtp_bounces", stdout=StringIO(), stderr=errors)
    assert "failed at folder" in errors.getvalue()


def test_only_the_environment_that_made_the_version_live_reads(dovecot, item, sent_to, run_in):
    entry, address = sent_to()
    dovecot.add(bounces.report(address, bounces.fields()))
    run_in("production")
    item()
    run_in("staging")
    assert with_mailbox() == []
    output = StringIO()
    call_command("smtp_bounces", stdout=output)
    assert "production" in output.getvalue()
    assert _reported(entry) == ""


def test_bounces_of_postfix(make_set, reload, transactional_db):
    """From the message to its bounce: refused by the next server, and without a way to go."""
    require_postfix()
    require_dovecot()
    with SMTPServer(encryption="none", auth=False) as relay:
        relay.refuse["nobody@example.net"] = "550 5.1.1 User unknown"
        relay.refuse["full@example.net"] = "552 5.2.2 Mailbox full"
        with (
            Postfix(relay_port=relay.port) as postfix,
            Dovecot(postfix.directory / "mail" / "bounces") as dovecot,
        ):
            make_set(
                postfix,
                bounce_address="bounces@example.org",
                bounce_separator="+",
                mailbox_host="127.0.0.1",
                mailbox_port=dovecot.ssl_port,
            )
            reload()
            addresses = ["nobody@example.net", "full@example.net", "fine@example.net"]
            EmailMessage("Hello", "Hello.", "site@example.com", addresses).send()
            assert len(postfix.messages("bounces")) == 1
            [item] = with_mailbox()
            read(item)
    entry = LogEntry.objects.get()
    states = dict(entry.recipients.values_list("address", "reported"))
    assert states == {
        "nobody@example.net": "bounced",
        "full@example.net": "failed",
        "fine@example.net": "",
    }
    reason = entry.recipients.get(address="nobody@example.net").reported_reason
    assert "550 5.1.1 User unknown" in reason
    assert entry.reported in ("bounced", "failed")  # the same rank
