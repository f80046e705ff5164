"""The public functions of the suppression list."""

import threading

import pytest
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from django.db import connection, transaction

from wagtail_smtp import signals, suppression
from wagtail_smtp.models import SuppressedAddress, SuppressionReason

pytestmark = pytest.mark.django_db


@pytest.fixture
def told():
    """The arguments of each signal."""
    calls = []

    def receive(signal, sender, **values):
        calls.append(values)

    signals.address_suppressed.connect(receive)
    yield calls
    signals.address_suppressed.disconnect(receive)


def test_an_address_is_suppressed_once_and_allowed_again():
    user = get_user_model().objects.create_user("ada", "ada@example.com", "x")
    assert suppression.suppress("Bob@Example.org", "unsubscribed", detail=" By\nform ", user=user)
    assert not suppression.suppress("bob@example.org", "complained")
    row = SuppressedAddress.objects.get()
    assert (row.address, row.domain, row.reason) == (
        "bob@example.org",
        "example.org",
        "unsubscribed",
    )
    assert (row.detail, row.created_by) == ("By form", user)
    assert suppression.is_suppressed("Bob <BOB@example.ORG>")
    assert suppression.allow("BOB@example.org")
    assert not suppression.allow("bob@example.org")
    assert not suppression.is_suppressed("bob@example.org")


def test_similar_addresses_are_others():
    suppression.suppress("muller@example.org")
    others = [
        "müller@example.org",
        "muller@müller.example",
        "muller@example.org.",
        "a.b@example.org",
    ]
    assert not any(
        map(suppression.is_suppressed, [*others, "", "muller", "muller@", "@example.org"])
    )


def test_a_domain_may_be_written_either_way():
    suppression.suppress("ada@BÜCHER.example")
    assert SuppressedAddress.objects.get().address == "ada@xn--bcher-kva.example"
    assert suppression.is_suppressed("ada@bücher.example")
    assert suppression.is_suppressed("ada@XN--bcher-kva.example")


@pytest.mark.parametrize(
    "written",
    [
        "ada@bücher.example (Ada)",
        "(Ada) ADA@bücher.example",
        '"ada"@bücher.example',
        'Ada <"ada"@bücher.example>',
        "ada @ bücher.example",
        '"Doe, Ada" <ada@bücher.example>',
    ],
)
def test_whatever_is_written_the_recipient_is_suppressed(written, smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    EmailMessage("Hello", "Hello.", None, [written]).send()
    [received] = smtp_server.received
    assert [each.lower() for each in received.recipients] == ["ada@xn--bcher-kva.example"]
    suppression.suppress("ada@bücher.example")
    assert suppression.is_suppressed(written)
    EmailMessage("Hello", "Hello.", None, [written]).send()
    assert len(smtp_server.received) == 1


@pytest.mark.parametrize(
    "address", ["", "ada", "ada@", "Ada <ada@example.org>, b@c.org", "a b@c.org"]
)
def test_what_is_no_address_is_an_error(address):
    with pytest.raises(ValueError, match="not an email address"):
        suppression.suppress(address)
    with pytest.raises(ValueError, match="whim"):
        suppression.suppress("ada@example.org", "whim")
    assert not SuppressedAddress.objects.exists()


def test_many_at_once(django_assert_max_num_queries):
    suppression.suppress("n7@example.org", "complained")
    addresses = [f"n{number}@example.org" for number in range(1200)]
    with django_assert_max_num_queries(24):
        assert suppression.suppress_all([*addresses, "N8@example.org"]) == 1199
    assert SuppressedAddress.objects.get(address="n7@example.org").reason == "complained"
    with django_assert_max_num_queries(3):
        assert len(suppression.find([*addresses, "other@example.org"])) == 1200
    with pytest.raises(ValueError, match="nonsense"):
        suppression.suppress_all(["new@example.org", "nonsense"])
    assert not suppression.is_suppressed("new@example.org")


def test_the_signal_is_sent_once_and_after_the_commit(told, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        suppression.suppress("ada@example.org", SuppressionReason.COMPLAINED, entry=7)
        assert told == []
    suppression.suppress("ada@example.org")
    assert told == [{"address": "ada@example.org", "reason": "complained", "entry": 7}]


def test_a_rollback_takes_it_back(told):
    with transaction.atomic():
        suppression.suppress("ada@example.org")
        transaction.set_rollback(True)
    assert not suppression.is_suppressed("ada@example.org")
    assert told == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_another_process_adds_the_same_address(isolation):
    """The transaction has begun before, so it doesn't see the other one's row."""
    if connection.vendor != "mysql":
        pytest.skip("elsewhere, the database waits or asks for the transaction to be repeated")
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
    try:
        with transaction.atomic():
            assert not suppression.is_suppressed("ada@example.org")
            other = threading.Thread(target=_suppress, args=["ada@example.org"])
            other.start()
            other.join(20)
            assert not suppression.suppress("ada@example.org", "complained")
    finally:
        connection.close()
    assert SuppressedAddress.objects.get().reason == "manual"


def _suppress(address):
    try:
        suppression.suppress(address)
    finally:
        connection.close()
