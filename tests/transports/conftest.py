"""Transports to servers, without any database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.mail import EmailMessage

from tests.support.servers.hostile import HostileServer
from tests.support.servers.smtp_server import CA_PEM
from wagtail_smtp.config.values import Outcome, TransportConfig
from wagtail_smtp.transports.base import Envelope, OutgoingMessage
from wagtail_smtp.transports.pool import close_all
from wagtail_smtp.transports.smtp.transport import SMTPTransport

MakeTransport = Callable[..., SMTPTransport]


@pytest.fixture
def transport_to() -> Iterator[MakeTransport]:
    """A transport to a server: ``transport_to(server, timeout=…)``."""
    # Kept until the end: what is collected before can't be closed with the others.
    made: list[SMTPTransport] = []

    def make(server: HostileServer, **values: Any) -> SMTPTransport:
        defaults: dict[str, Any] = {
            "name": "set",
            "host": server.host,
            "port": server.port,
            "encryption": server.encryption,
            "timeout": 3,
            "ca_certificates": CA_PEM,
            "username": server.username if server.auth else "",
            "password": server.password if server.auth else "",
        }
        made.append(SMTPTransport(TransportConfig(**(defaults | values))))
        return made[-1]

    yield make
    close_all()


def send(
    transport: SMTPTransport, *recipients: str, subject: str = "Hi", reply_timeout: float = 3
) -> Outcome:
    """Send one message to the recipients, or to one of our own."""
    to = recipients or ("to@example.com",)
    message = EmailMessage(subject, "Body", "from@example.com", list(to))
    return transport.send(
        OutgoingMessage(message, Envelope("from@example.com", tuple(to))), reply_timeout
    )
