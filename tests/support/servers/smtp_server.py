"""A real SMTP server on a free loopback port, with TLS and AUTH, that keeps what arrives."""

import asyncio
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

CA = trustme.CA()
CA_PEM = CA.cert_pem.bytes().decode()


#: The last ones are those of the tutorial: see tests/browser/fresh_site.py.
NAMES = (
    *("localhost", "127.0.0.1"),
    *("smtp.gmail.com", "smtp.office365.com", "login.microsoftonline.com"),
)


def server_context(*names: str) -> ssl.SSLContext:
    """TLS for a server called ``names``, signed by the tests' own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(*(names or NAMES)).configure_cert(context)
    return context


@dataclass
class Received:
    """One message as it arrived."""

    sender: str
    recipients: list[str]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)  # type: ignore[return-value]


@dataclass
class SMTPServer:
    """Start with ``with``; ``encryption`` is starttls, ssl or none."""

    encryption: str = "starttls"
    username: str = "user@example.com"
    password: str = "secret of the tests"
    auth: bool = True
    received: list[Received] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    #: Replies by recipient address, for those that are not accepted.
    refuse: dict[str, str] = field(default_factory=dict)
    #: Reply to MAIL FROM or to the whole message instead of 250.
    mail_reply: str = ""
    data_reply: str = ""

    def __enter__(self) -> "SMTPServer":
        context = server_context()
        self._arrived = threading.Condition()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=0,
            ssl_context=context if self.encryption == "ssl" else None,
            tls_context=context if self.encryption == "starttls" else None,
            require_starttls=self.encryption == "starttls",
            auth_required=self.auth,
            auth_require_tls=self.encryption == "starttls",
            authenticator=self._authenticate,
            decode_data=False,
        )
        self._open: set[SMTP] = set()
        make = self._controller.factory
        self._controller.factory = lambda: self._watched(make())  # type: ignore[method-assign]
        # aiosmtpd takes the port from its own argument, so a free one is bound first.
        self._controller.port = free_port()
        self._controller.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.drop_connections()
        self._controller.stop(no_assert=True)

    def _watched(self, protocol: SMTP) -> SMTP:
        self._open.add(protocol)
        return protocol

    def drop_connections(self) -> None:
        """End the sessions that clients keep open, as a server does that restarts."""
        is_done = threading.Event()

        async def drop() -> None:
            for protocol in self._open:
                if protocol.transport is not None:
                    protocol.transport.abort()
            self._open.clear()
            # Closing takes the event loop two rounds.
            for _ in range(3):
                await asyncio.sleep(0)
            is_done.set()

        asyncio.run_coroutine_threadsafe(drop(), self._controller.loop)
        is_done.wait(5)

    @property
    def port(self) -> int:
        return int(self._controller.port)

    def _authenticate(
        self, server: SMTP, session: object, envelope: object, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        pair = (data.login.decode(), data.password.decode())
        self.logins.append(pair)
        return AuthResult(success=pair == (self.username, self.password), handled=False)

    async def handle_MAIL(self, server, session, envelope, address, options):  # type: ignore[no-untyped-def]
        if self.mail_reply:
            return self.mail_reply
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):  # type: ignore[no-untyped-def]
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # type: ignore[no-untyped-def]
        if self.data_reply:
            return self.data_reply
        with self._arrived:
            self.received.append(
                Received(envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content)
            )
            self._arrived.notify_all()
        return "250 OK"


def free_port() -> int:
    """Return an unused port."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
