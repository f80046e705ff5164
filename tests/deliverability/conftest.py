"""A name server with a zone, and senders to check."""

import pytest

from tests.deliverability.zones import ZONE
from tests.support.servers.dns_server import DNSServer
from wagtail_smtp.deliverability.providers import PROVIDERS
from wagtail_smtp.deliverability.senders import Sender

BY_SLUG = {provider.slug: provider for provider in PROVIDERS}


def sender_through(slug, domain="example.com", envelope="example.com", **values):
    """A sender that uses a provider."""
    return Sender("Set", domain, envelope, BY_SLUG[slug], **values)


def own_sender(host="mail.example.com", domain="example.com", envelope="example.com", **values):
    """A sender that uses a server of its own."""
    return Sender("Set", domain, envelope, None, host, **values)


@pytest.fixture
def name_server(configure):
    with DNSServer(ZONE) as server:
        configure(DNS_SERVERS=[server.address])
        yield server
