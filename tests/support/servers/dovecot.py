"""A real Dovecot in a temporary directory: IMAP with TLS, passwords and access tokens.

Nothing is shared with a Dovecot of the machine but the programs.
"""

import base64
import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from tests.support.servers.smtp_server import CA

#: Where a distribution may keep the program besides PATH.
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))

_CONFIGURATION = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
protocols = imap
auth_mechanisms = plain login xoauth2 oauthbearer
disable_plaintext_auth = yes
auth_failure_delay = 0
ssl = yes
ssl_cert = <{directory}/tls.pem
ssl_key = <{directory}/tls.pem
mail_location = maildir:{mailbox}
maildir_very_dirty_syncs = no
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = username_format=%u {directory}/users
  mechanisms = plain login
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {directory}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/home allow_all_users=yes
}}
# Without the delay after refused logins from the same address, which is up to 15 seconds: whether a
# test has to wait would depend on the tests before it.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {ssl_port}
    ssl = yes
  }}
}}
"""

_OAUTH = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={directory}/keys/
username_attribute = sub
"""


def require_dovecot() -> None:
    """Skip the test where Dovecot can't be started, or fail if it is required."""
    reason = ""
    if _program() is None:
        reason = "no Dovecot found"
    elif os.geteuid() != 0:
        reason = "Dovecot starts as root only"
    if reason and os.environ.get("WAGTAIL_SMTP_REQUIRE_DOVECOT") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _program() -> str | None:
    return shutil.which("dovecot", path=_PATH)


class Dovecot:
    """Start with ``with``. ``port`` offers STARTTLS, ``ssl_port`` is TLS from the start.

    Args:
        mailbox: a maildir to read, such as one to which Postfix delivers; its own if there is none.
    """

    host = "127.0.0.1"
    username = "user@example.com"
    password = "secret of the tests"
    #: Signs access tokens.
    key = b"0123456789abcdef0123456789abcdef"

    def __init__(self, mailbox: Path | None = None) -> None:
        self._mailbox = mailbox
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Dovecot":
        # Not below pytest's directory: others than root have no way into that.
        self.directory = Path(tempfile.mkdtemp(prefix="dovecot-"))
        try:
            self.directory.chmod(0o755)
            self._configure()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            # Its session is its own, and so is the process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            self._process.communicate(timeout=20)
            self._process = None
        shutil.rmtree(self.directory)

    @property
    def log(self) -> str:
        """What Dovecot says of itself."""
        path = self.directory / "dovecot.log"
        return path.read_text() if path.exists() else ""

    def token(self) -> str:
        """An access token that it accepts."""
        from joserfc import jwt
        from joserfc.jwk import OctKey

        now = int(time.time())
        claims = {"sub": self.username, "iat": now - 10, "exp": now + 600}
        key = OctKey.import_key(self.key)
        return jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, key)

    def add(self, content: bytes, folder: str = "") -> None:
        """Deliver a message to the mailbox, as a mail server does."""
        box = self.mailbox / f".{folder}" if folder else self.mailbox
        for name in ("tmp", "new", "cur"):
            (box / name).mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns()}.{uuid.uuid4().hex}.test"
        (box / "tmp" / name).write_bytes(content)
        os.rename(box / "tmp" / name, box / "new" / name)
        self._own(self.mailbox)

    def flags(self) -> list[str]:
        """The names of the files in the mailbox, whose ends are the flags of the messages."""
        return sorted(path.name for path in self.mailbox.glob("*/*") if path.is_file())

    def _own(self, top: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        for path in (top, *top.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)

    def _configure(self) -> None:
        nobody = pwd.getpwnam("nobody")
        for name in ("run", "state", "home", "keys/default/HS256"):
            (self.directory / name).mkdir(parents=True)
        self.mailbox = self._mailbox or self.directory / "home" / "mail"
        self._own(self.directory / "home")
        with (
            socket.create_server(("127.0.0.1", 0)) as one,
            socket.create_server(("127.0.0.1", 0)) as other,
        ):
            self.port, self.ssl_port = one.getsockname()[1], other.getsockname()[1]
        values = {
            "directory": self.directory,
            "mailbox": self.mailbox,
            "uid": nobody.pw_uid,
            "gid": grp.getgrgid(nobody.pw_gid).gr_gid,
            "port": self.port,
            "ssl_port": self.ssl_port,
        }
        self._write("dovecot.conf", _CONFIGURATION.format_map(values))
        self._write("oauth2.conf", _OAUTH.format_map(values))
        self._write("users", f"{self.username}:{{PLAIN}}{self.password}\n")
        self._write("keys/default/HS256/default", base64.b64encode(self.key).decode())
        certificate = CA.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(self.directory / "tls.pem")

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def _start(self) -> None:
        """Start it as a child, in a session of its own, and wait until it listens."""
        self._process = subprocess.Popen(
            [str(_program()), "-F", "-c", str(self.directory / "dovecot.conf")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((self.host, self.ssl_port), 1),
            ):
                return
            if time.monotonic() > deadline or self._process.poll() is not None:
                output = self._process.communicate(timeout=20)[0] if self._process.poll() else b""
                raise RuntimeError(f"no Dovecot: {output.decode()}{self.log}")
            time.sleep(0.02)
