"""What is known of each recipient, whatever a later candidate raises."""

from types import SimpleNamespace

import pytest

from wagtail_smtp.config.values import Outcome, Recipient
from wagtail_smtp.delivery.pipeline import Attempts
from wagtail_smtp.delivery.routing import Route
from wagtail_smtp.transports.base import Availability


def _attempts(*results):
    """Attempts with one candidate for each result: an outcome, or an error that it raises."""
    candidates = tuple(
        SimpleNamespace(name=f"Set {number}", key=str(number), uses_esp=False)
        for number, _result in enumerate(results)
    )
    transports = {
        item.key: SimpleNamespace(name=item.name, availability=Availability())
        for item in candidates
    }

    def send(item, transport, attempts):
        result = results[int(item.key)]
        if isinstance(result, Exception):
            raise result
        return result

    return Attempts(Route("other", candidates, ""), lambda item: transports[item.key], send)


PARTLY = Outcome(
    "Set 0",
    recipients=(
        Recipient("a@example.org"),
        Recipient("b@example.org", "deferred", 450, "4.2.1 Later", "reply"),
    ),
)


@pytest.mark.parametrize("error", [ValueError("broken"), KeyError("x")])
def test_who_has_it_is_not_forgotten(error):
    outcome = _attempts(PARTLY, error).run()
    states = {item.address: item.state for item in outcome.recipients}
    assert states == {"a@example.org": "sent", "b@example.org": "deferred"}


def test_where_no_one_has_it_the_error_goes_on():
    with pytest.raises(ValueError, match="broken"):
        _attempts(ValueError("broken"), PARTLY).run()
