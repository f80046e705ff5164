"""What is known of each recipient when a later candidate raises an error."""

import pytest
from django.core.mail import EmailMessage

from wagtail_smtp.config.values import Outcome, Recipient
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.delivery.routing import Classification
from wagtail_smtp.live import LiveConfiguration
from wagtail_smtp.transports.base import Availability, Transport


class _Scripted(Transport):
    """A transport with one result: an outcome, or an error to raise."""

    def __init__(self, result):
        self.name = "scripted"
        self.availability = Availability()
        self.result = result

    def send(self, outgoing, reply_timeout):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def check(self, sender="", outgoing=None):
        return iter(())

    def close(self):
        pass


@pytest.fixture
def deliver(smtp_server, make_set, reload, monkeypatch):
    """Deliver a message with one set for each result; None: its transport can't be created."""

    def _deliver(*results):
        made = [
            make_set(smtp_server, name=f"Set {number}", backup=number > 0)
            for number, _result in enumerate(results)
        ]
        reload()
        transports = {
            str(item.key): _Scripted(result) for item, result in zip(made, results, strict=True)
        }

        def transport(live, item):
            found = transports[item.key]
            return found if found.result is not None else {}["no transport"]

        monkeypatch.setattr(LiveConfiguration, "transport", transport)
        message = EmailMessage("Hi", "Body", None, ["a@example.org", "b@example.org"])
        return DeliveryPipeline().try_deliver(message, Classification("other", "default"))

    return _deliver


PARTLY = Outcome(
    "Set 0",
    recipients=(
        Recipient("a@example.org"),
        Recipient("b@example.org", "deferred", 450, "4.2.1 Later", "reply"),
    ),
)


@pytest.mark.parametrize("error", [ValueError("broken"), KeyError("x")])
def test_who_has_it_is_not_forgotten(deliver, error):
    result = deliver(PARTLY, error)
    states = {item.address: item.state for item in result.outcome.recipients}
    assert states == {"a@example.org": "sent", "b@example.org": "deferred"}
    assert [attempt.error for attempt in result.attempts] == [None, error]


def test_where_no_one_has_it_the_error_goes_on(deliver):
    result = deliver(ValueError("broken"), PARTLY)
    assert isinstance(result.failure, ValueError)
    assert len(result.attempts) == 1


def test_who_has_it_is_not_forgotten_if_the_next_transport_can_not_be_created(deliver):
    result = deliver(PARTLY, None)
    states = {item.address: item.state for item in result.outcome.recipients}
    assert states == {"a@example.org": "sent", "b@example.org": "deferred"}
    assert isinstance(result.attempts[-1].error, KeyError)
