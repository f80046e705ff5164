"""The backend wherever Django code may call it from."""

import asyncio
import ctypes
import os
import threading
import time
import warnings

import pytest
from django.core import mail
from django.core.mail import EmailMessage, mail_admins, send_mail
from django.db import DatabaseError, connection, transaction
from wagtail.admin.mail import send_mail as wagtail_send_mail

from tests.support.servers.hostile import HostileServer
from wagtail_smtp.backend import EmailBackend
from wagtail_smtp.exceptions import MessageRefused
from wagtail_smtp.signals import message_failed, message_sent

on_real_transactions = pytest.mark.django_db(transaction=True)


def _send(**values):
    return send_mail("Hi", "Body", None, ["real@example.org"], **values)


def _message(number=0):
    return EmailMessage(str(number), "Body", None, ["real@example.org"])


@pytest.fixture
def server(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    return smtp_server


def close_for_good():
    """Close this thread's connection: Django leaves that of an in-memory SQLite open."""
    if connection.connection is not None and connection.vendor == "sqlite":
        connection.connection.close()
        connection.connection = None


def _in_threads(count, target):
    errors = []

    def run():
        try:
            target()
        except Exception as error:
            errors.append(error)
        finally:
            close_for_good()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


@on_real_transactions
def test_from_plain_threads(server):
    _in_threads(1, _send)
    _in_threads(8, _send)
    assert len(server.received) == 9


@on_real_transactions
def test_one_backend_shared_by_threads(server):
    backend = EmailBackend()
    _in_threads(6, lambda: backend.send_messages([_message()]))
    assert len(server.received) == 6


def _fork_without_hooks():
    """As a server in C forks, such as uWSGI: Python doesn't notice."""
    return ctypes.PyDLL(None).fork()


@on_real_transactions
@pytest.mark.parametrize("fork", [os.fork, _fork_without_hooks])
def test_after_a_fork(make_set, reload, fork):
    """The child leaves the parent's session alone."""
    # Unencrypted, where the child could go on with it unnoticed.
    with HostileServer(encryption="none") as server:
        make_set(server)
        reload()
        _send()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the test's server has a thread
            # Python's own locks would stay locked in the child. uWSGI forks before it has threads.
            time.sleep(0.3)
            pid = fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if _send() == 1 else 1
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert server.connections == 2
        _send()
        assert len(server.received) == 3
        assert server.connections == 2


@on_real_transactions
def test_inside_a_transaction(server):
    with transaction.atomic():
        assert _send() == 1


@pytest.mark.threat(23)
@on_real_transactions
def test_in_a_broken_transaction_what_is_loaded_stays(server):
    _send()
    with transaction.atomic():
        with pytest.raises(DatabaseError), transaction.atomic(savepoint=False):
            connection.cursor().execute("SELECT nothing FROM nowhere")
        assert _send() == 1
        transaction.set_rollback(True)
    assert len(server.received) == 2


@on_real_transactions
def test_on_a_running_event_loop(server):
    async def view():
        return _send()

    assert asyncio.run(view()) == 1
    assert len(server.received) == 1


@on_real_transactions
def test_on_an_event_loop_of_another_thread(server):
    async def view():
        return _send()

    _in_threads(1, lambda: asyncio.run(view()))
    assert len(server.received) == 1


def test_fail_silently_silences_delivery_errors_alone(server):
    server.mail_reply = "550 not you"
    backend = EmailBackend(fail_silently=True)
    assert backend.send_messages([_message()]) == 0
    with pytest.raises(ValueError):
        backend.send_messages([EmailMessage("a\nb", "Body", None, ["real@example.org"])])


def test_the_first_error_ends_a_batch(server):
    server.refuse["bad@example.org"] = "550 nobody"
    bad = EmailMessage("bad", "Body", None, ["bad@example.org"])
    batch = [_message(1), bad, _message(2)]
    with pytest.raises(MessageRefused):
        EmailBackend().send_messages(batch)
    assert [r.message["Subject"] for r in server.received] == ["1"]
    assert EmailBackend(fail_silently=True).send_messages(batch) == 2


def test_a_session_is_used_again(server):
    backend = EmailBackend()
    with backend as same:
        assert same is backend
        for number in range(3):
            backend.send_messages([_message(number)])
    assert len(server.received) == 3
    assert len(server.logins) == 1
    backend.send_messages(_message(number) for number in range(2))
    _send()
    assert len(server.received) == 6
    assert len(server.logins) == 1


def test_nothing_to_send(server):
    backend = EmailBackend()
    assert backend.send_messages([]) == 0
    assert backend.send_messages(iter(())) == 0
    assert backend.send_messages([EmailMessage("Hi", "Body")]) == 0
    backend.close()


# Wagtail still calls what newer releases of Django deprecate.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_wagtails_own_door(server):
    assert wagtail_send_mail("Hi", "Body", ["real@example.org"]) == 1
    assert len(server.received) == 1


def test_error_mail(server, admins):
    mail_admins("Down", "Body")
    assert server.received[0].recipients == ["admin@example.com"]


def test_signals_tell_how_it_went(server):
    told = []

    def sent(category, outcome, **kwargs):
        told.append((category, outcome.via, [r.state for r in outcome.recipients]))

    def failed(error, **kwargs):
        told.append(type(error).__name__)

    message_sent.connect(sent)
    message_failed.connect(failed)
    try:
        server.refuse["bad@example.org"] = "450 later"
        EmailMessage("Hi", "Body", None, ["real@example.org", "bad@example.org"]).send()
        server.data_reply = "554 no"
        with pytest.raises(MessageRefused):
            _send()
    finally:
        message_sent.disconnect(sent)
        message_failed.disconnect(failed)
    assert told == [("other", "Set 1", ["sent", "deferred"]), "MessageRefused"]
    assert mail.outbox == []
