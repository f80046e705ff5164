"""What is in force: asked before each send, and what holds when it can't be asked."""

import contextlib
from unittest import mock

import pytest
from django.core import mail
from django.core.mail import EmailMessage, get_connection, mail_admins, send_mail
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from wagtail_smtp.categories import email_category
from wagtail_smtp.delivery import pipeline
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current, lookup
from wagtail_smtp.models import ConfigurationVersion


def _send():
    return send_mail("Hi", "Body", None, ["real@example.org"])


def _fail(*args):
    raise OperationalError("the database is down")


@contextlib.contextmanager
def Unreachable():
    """Fails every query, as a database does that is down."""
    with (
        connection.execute_wrapper(_fail),
        mock.patch.object(connection, "is_usable", return_value=False),
    ):
        yield


def test_before_the_first_version_mail_goes_by_standard_delivery(db):
    assert _send() == 1
    assert len(mail.outbox) == 1


@pytest.mark.threat(23)
@pytest.mark.skipif(
    connection.vendor == "mysql", reason="tables can't come back there; processes/ has the test"
)
def test_a_missing_table(db):
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {ConfigurationVersion._meta.db_table}")
        with pytest.raises(ConfigurationUnavailable) as caught:
            _send()
        assert caught.value.retry_is_safe
        with email_category("security"), pytest.raises(ConfigurationUnavailable):
            _send()
        with email_category("error"):
            assert _send() == 1
        assert len(mail.outbox) == 1
        # The caller's transaction goes on.
        assert connection.cursor().execute("SELECT 1")
        transaction.set_rollback(True)


@pytest.mark.threat(24)
@pytest.mark.django_db(transaction=True)
def test_unreachable_before_anything_was_loaded(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    with Unreachable(), pytest.raises(ConfigurationUnavailable):
        _send()
    with Unreachable(), email_category("error"):
        assert _send() == 1
    assert smtp_server.received == []


def test_a_locked_table_may_hide_a_redirect(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()

    def lock(execute, sql, *args):
        return _fail() if ConfigurationVersion._meta.db_table in sql else execute(sql, *args)

    error_mail = email_category("error")
    with (
        connection.execute_wrapper(lock),
        error_mail,
        pytest.raises(ConfigurationUnavailable) as caught,
    ):
        _send()
    assert not caught.value.no_database
    assert smtp_server.received == mail.outbox == []


@pytest.mark.threat(23)
@pytest.mark.django_db(transaction=True)
def test_a_new_process_in_a_broken_transaction(smtp_server, make_set, reload, admins):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    lookup.forget()
    with transaction.atomic():
        transaction.set_rollback(True)
        mail_admins("Down", "Body")
    assert [r.recipients for r in smtp_server.received] == [["qa@example.com"]]
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_unreachable_after_it_was_loaded(smtp_server, make_set, reload, caplog):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    current()
    with Unreachable():
        assert _send() == 1
    assert [r.recipients for r in smtp_server.received] == [["qa@example.com"]]
    assert "loaded earlier" in caplog.text


def test_a_newer_format_is_never_guessed_at(smtp_server, make_set, reload):
    make_set(smtp_server)
    version = reload()
    _send()
    ConfigurationVersion.objects.create(number=2, format=99, content=version.content)
    with pytest.raises(ConfigurationUnavailable):
        _send()
    with email_category("error"), pytest.raises(ConfigurationUnavailable):
        _send()
    assert len(smtp_server.received) == 1


def test_unknown_fields_are_never_ignored(smtp_server, make_set, reload):
    make_set(smtp_server)
    version = reload()
    content = version.content | {"redirect_everything": True}
    ConfigurationVersion.objects.create(number=2, content=content)
    with pytest.raises(ConfigurationUnavailable):
        _send()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("report_emails", [{"address": "qa@example.com"}]),
        ("report_emails", [{"address": "qa@example.com", "enabled": True, "only": "form"}]),
        ("report_emails", {}),
        ("categories", "form"),
        ("ignored_extensions", "SIZE"),
        ("redirect", None),
        ("redirect", ""),
        ("report_emails", [{"address": "qa@example.com", "enabled": None}]),
        ("backup", 0),
    ],
)
def test_a_damaged_version_is_never_read_in_part(smtp_server, make_set, reload, field, value):
    make_set(smtp_server)
    version = reload()
    [item] = version.content["sets"]
    content = version.content | {"sets": [item | {field: value}]}
    ConfigurationVersion.objects.create(number=2, content=content)
    with pytest.raises(ConfigurationUnavailable):
        _send()


@pytest.mark.parametrize("value", ["", {}, None, 0])
def test_damaged_sets_are_never_read_as_none(smtp_server, make_set, reload, value):
    """Without sets, email would go to its real recipients by standard delivery."""
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    version = reload()
    content = version.content | {"sets": value}
    ConfigurationVersion.objects.create(number=2, content=content)
    with pytest.raises(ConfigurationUnavailable):
        _send()
    assert smtp_server.received == []


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_kept(smtp_server, other_server, make_set, reload):
    make_set(smtp_server)
    reload()
    _send()
    with transaction.atomic():
        make_set(other_server, sort_order=-1)
        assert reload().number == 2
        _send()  # the transaction sees its own version
        transaction.set_rollback(True)
    assert (len(smtp_server.received), len(other_server.received)) == (1, 1)
    with Unreachable():
        _send()
    _send()
    assert (len(smtp_server.received), len(other_server.received)) == (3, 1)
    # The number comes again, with another identity.
    make_set(smtp_server, sort_order=-1, redirect=True, reports=["qa@example.com"])
    assert reload().number == 2
    _send()
    assert smtp_server.received[-1].recipients == ["qa@example.com"]
    assert len(other_server.received) == 1


def test_a_long_batch_asks_again(smtp_server, other_server, make_set, reload, monkeypatch):
    monkeypatch.setattr(pipeline, "RECHECK_AFTER", 0.0)
    item = make_set(smtp_server)
    reload()

    def messages():
        yield EmailMessage("1", "Body", None, ["real@example.org"])
        item.enabled = False
        item.save()
        make_set(other_server)
        reload()
        yield EmailMessage("2", "Body", None, ["real@example.org"])

    assert get_connection_of_the_project().send_messages(messages()) == 2
    assert (len(smtp_server.received), len(other_server.received)) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_short_batch_asks_once(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    _send()
    batch = [EmailMessage(str(i), "Body", None, ["real@example.org"]) for i in range(5)]
    backend = get_connection_of_the_project()
    with CaptureQueriesContext(connection) as queries:
        assert backend.send_messages(batch) == 5
    asked = [query for query in queries if "configurationversion" in query["sql"]]
    assert len(asked) == 1
    assert len(smtp_server.logins) == 1  # one session for all


def get_connection_of_the_project():
    mailers = getattr(mail, "mailers", None)
    return mailers.default if mailers is not None else get_connection()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_being_restored(smtp_server, make_set, reload, monkeypatch):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    _send()
    ConfigurationVersion.objects.all().delete()
    monkeypatch.setattr(lookup.db_connections, "is_under_test", lambda: False)
    _send()
    assert [message.recipients for message in smtp_server.received] == [["qa@example.com"]] * 2
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_a_new_site_after_its_first_message(smtp_server, make_set, reload, monkeypatch):
    monkeypatch.setattr(lookup.db_connections, "is_under_test", lambda: False)
    _send()
    _send()
    assert len(mail.outbox) == 2
    make_set(smtp_server)
    reload()
    _send()
    assert len(smtp_server.received) == 1
