"""Real SMTP servers on loopback, with STARTTLS and AUTH, that save every message."""

import logging
import ssl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from example_site import places
from example_site.inbox.mailbox import Delivered, keep

# aiosmtpd warns about AUTH without TLS, which one server uses on loopback.
logging.getLogger("mail.log").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="aiosmtpd", category=UserWarning)

CERTIFICATE = places.DIRECTORY / "server.pem"


class Keeper:
    """Check the login of one server and save its messages."""

    def __init__(self, server: places.DemoServer) -> None:
        self.server = server

    def authenticate(
        self, smtp: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        """Called by aiosmtpd for AUTH PLAIN and LOGIN."""
        expected = LoginPassword(self.server.username.encode(), self.server.password.encode())
        return AuthResult(success=data == expected, handled=False, auth_data=data)

    async def handle_DATA(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:
        login = session.auth_data.login.decode() if session.authenticated else ""
        delivered = Delivered(
            server=self.server.slug,
            login=login,
            mail_from=envelope.mail_from or "",
            rcpt_to=list(envelope.rcpt_tos),
            tls=session.ssl is not None,
        )
        keep(delivered, envelope.original_content)
        return f"250 2.0.0 Kept as {delivered.number}"


@contextmanager
def running() -> Iterator[None]:
    """Run all servers until the end of the block."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with ExitStack() as stack:
        for server in places.SERVERS:
            controller = _controller(server, context)
            controller.start()
            stack.callback(controller.stop, no_assert=True)
        yield


def _controller(server: places.DemoServer, context: ssl.SSLContext) -> Controller:
    keeper = Keeper(server)
    return Controller(
        keeper,
        hostname=places.HOST,
        port=server.port,
        server_hostname="localhost",
        ident=f"{server.name} (demo)",
        tls_context=context if server.tls else None,
        require_starttls=server.tls,
        auth_required=True,
        auth_require_tls=server.tls,
        authenticator=keeper.authenticate,
        decode_data=False,
    )


def make_certificates() -> None:
    """Create the demo's certificate authority and the servers' certificate once."""
    if places.CA_FILE.is_file() and CERTIFICATE.is_file():
        return
    authority = trustme.CA(organization_name="wagtail-smtp demo")
    certificate = authority.issue_cert(places.HOST, "localhost")
    CERTIFICATE.touch(mode=0o600)
    CERTIFICATE.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
    authority.cert_pem.write_to_path(str(places.CA_FILE))
