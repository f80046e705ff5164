"""A receiver, and settings that send alerts to it."""

import pytest

from tests.support.servers.receiver import Receiver


@pytest.fixture
def receiver(configure):
    """A webhook that gets alerts, with secrets in its URL."""
    with Receiver() as running:
        configure(ALERTS=[running.apprise_url])
        yield running
