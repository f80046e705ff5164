"""Failures of the plugin's own are logged, and a mail about them isn't the next one."""

import logging
import threading

import pytest
from django.core.mail import EmailMessage
from django.db import DatabaseError
from django.utils.log import AdminEmailHandler

from wagtail_smtp import signals
from wagtail_smtp.delivery.log import writer
from wagtail_smtp.runtime import error_logging


@pytest.fixture
def mailed_errors(admins):
    """A project that has the plugin's errors mailed to ADMINS."""
    handler = AdminEmailHandler()
    handler.setLevel(logging.ERROR)
    logger = logging.getLogger("wagtail_smtp")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def _send():
    EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"]).send()


def _failing(calls):
    def fail(*args, **kwargs):
        calls.append(1)
        assert len(calls) < 20, "it never ends"
        raise DatabaseError("no")

    return fail


def test_a_log_that_fails_is_mailed_once(db, mailed_errors, monkeypatch, mailoutbox):
    calls = []
    monkeypatch.setattr(writer, "write", _failing(calls))
    _send()
    # The message, and the mail about its log.
    assert len(calls) == 2
    assert len(mailoutbox) == 2


def test_a_receiver_that_fails_is_mailed_once(db, mailed_errors, mailoutbox):
    calls = []
    receiver = _failing(calls)
    signals.message_sent.connect(receiver)
    try:
        _send()
    finally:
        signals.message_sent.disconnect(receiver)
    assert len(calls) == 2
    assert len(mailoutbox) == 2


def test_what_fails_is_an_error_but_for_mail_about_errors(caplog):
    logger = logging.getLogger("wagtail_smtp.test")

    def levels():
        return [entry.levelname for entry in caplog.records]

    error_logging.failure(logger, "one", error=ValueError("x"))
    with error_logging.quietly():
        error_logging.failure(logger, "two", error=ValueError("x"))
        # Another thread is about something else.
        other = threading.Thread(target=error_logging.failure, args=(logger, "three"))
        other.start()
        other.join()
    error_logging.failure(logger, "four", error=ValueError("x"))
    assert levels() == ["ERROR", "WARNING", "ERROR", "ERROR"]
