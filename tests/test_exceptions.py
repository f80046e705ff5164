"""Errors survive pickling, which task queues and process pools do."""

import copy
import pickle

import pytest

from wagtail_smtp import exceptions
from wagtail_smtp.config.values import Problem, Recipient
from wagtail_smtp.exceptions import AttemptFailed, ConfigurationUnavailable, ReloadRefused


def _all_below(kind):
    return [kind, *(each for below in kind.__subclasses__() for each in _all_below(below))]


VALUES = {
    "phase": "rcpt",
    "code": 550,
    "reply": "nobody",
    "recipients": (Recipient("real@example.org", "refused", 550, "nobody", "rcpt"),),
    "original": None,
}


@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
@pytest.mark.parametrize("kind", _all_below(exceptions.EmailDeliveryError))
def test_delivery_errors_keep_their_values(kind, travel):
    values = VALUES if issubclass(kind, AttemptFailed) else {}
    if kind is ConfigurationUnavailable:
        values = {"no_database": True}
    error = travel(kind("why", **values))
    assert type(error) is kind
    assert str(error) == "why"
    assert {name: getattr(error, name) for name in values} == values


@pytest.mark.parametrize("kind", _all_below(ReloadRefused))
def test_reload_errors_keep_their_values(kind):
    problems = (Problem("wrong", "host", "Office"),)
    error = pickle.loads(pickle.dumps(kind("why", problems)))
    assert (str(error), error.problems) == ("why", problems)
