"""A real Postfix in a temporary directory, with TLS, AUTH and mailboxes, on loopback ports.

Nothing is shared with a Postfix of the machine but the programs: configuration, queue, data,
log, passwords and mailboxes are its own, and no mail leaves it.
"""

import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.servers.smtp_server import CA

#: Where a distribution may keep the programs besides PATH.
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))

#: The queue's directories: their mode and whose they are.
_QUEUE = {
    **dict.fromkeys(("active", "bounce", "corrupt", "defer", "deferred", "flush"), 0o700),
    **dict.fromkeys(("hold", "incoming", "private", "saved", "trace"), 0o700),
    "maildrop": 0o1730,
    "public": 0o2710,
}

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/mail.log
maillog_file_prefixes = {directory}
myhostname = mail.example.org
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no

# Only who has logged in may send, and only to the mailboxes here.
mynetworks =
mydestination = {local_domain}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
local_recipient_maps =
alias_maps = {alias_maps}
alias_database =
local_transport = {local}
relay_transport = error:no mail leaves this server
default_transport = {relay}
recipient_delimiter = +
fast_flush_domains =
notify_classes =
virtual_mailbox_domains = {virtual_domain}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}

# What arrives stays as it is, and nothing holds it up.
local_header_rewrite_clients =
message_size_limit = {size_limit}
in_flow_delay = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
smtpd_client_connection_count_limit = 0
smtpd_discard_ehlo_keywords = {discard}
debug_peer_list = {debug}
debug_peer_level = 1

smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_chain_files = {directory}/tls.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {directory}/etc/sasl
"""

# No column says y to chroot, the fifth.
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{ssl_port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
local unix - n n - - local
smtp unix - - n - - smtp
postlog unix-dgram n - n - 1 postlogd
"""

_SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: {mechanisms}
sasldb_path: {directory}/sasldb2
"""


def require_postfix() -> None:
    """Skip the test where Postfix can't be started, or fail if it is required."""
    missing = [name for name in ("postconf", "saslpasswd2") if not _program(name)]
    reason = ""
    if missing:
        reason = f"no Postfix with Cyrus SASL: {' and '.join(missing)} not found"
    elif os.geteuid() != 0:
        reason = "Postfix starts as root only"
    if reason and os.environ.get("WAGTAIL_SMTP_REQUIRE_POSTFIX") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _program(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


class Postfix:
    """Start with ``with``; takes 0.1 s, so that each test can have its own.

    ``port`` offers STARTTLS, ``ssl_port`` is TLS from the start; both offer AUTH with
    ``mechanisms`` and all extensions but those in ``discard``. Anybody in ``users`` has a
    mailbox at ``domain``, also for addresses with ``+``; everybody else there is refused. Mail for
    other domains goes to the server on ``relay_port``, or bounces if there is none.

    With ``aliases``, the lines of an alias file, nobody has a mailbox: mail to ``domain`` goes
    where they say, or bounces. ``{directory}`` in them is the server's.
    """

    host = "127.0.0.1"
    encryption = "starttls"
    username = "user@example.com"
    password = "secret of the tests"
    domain = "example.org"
    users = ("one", "two", "three", "bounces")

    def __init__(
        self,
        *,
        discard: tuple[str, ...] = (),
        mechanisms: str = "PLAIN LOGIN CRAM-MD5",
        size_limit: int = 10_240_000,
        log_commands: bool = False,
        relay_port: int = 0,
        aliases: str = "",
    ) -> None:
        self._discard = discard
        self._mechanisms = mechanisms
        self._size_limit = size_limit
        self._log_commands = log_commands
        self._relay_port = relay_port
        self._aliases = aliases
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Postfix":
        # Not below pytest's directory: others than root have no way into that.
        self.directory = Path(tempfile.mkdtemp(prefix="postfix-"))
        try:
            self.directory.chmod(0o755)
            self._make_directories()
            self._configure()
            self._add_user()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop()
        shutil.rmtree(self.directory)

    @property
    def log(self) -> str:
        """What Postfix says of itself."""
        path = self.directory / "mail.log"
        return path.read_text() if path.exists() else ""

    @property
    def commands(self) -> list[str]:
        """The SMTP commands that came, with ``log_commands``."""
        return re.findall(r"postfix/smtpd\[\d+\]: < \S+: (.*)", self.log)

    def messages(self, user: str = "") -> list[bytes]:
        """All messages in ``user``'s mailbox or in all of them, byte for byte, lines ended by LF.

        Waits until everything that Postfix has accepted is delivered: what isn't there then
        never arrives.
        """
        deadline = time.monotonic() + 20
        while waiting := self._queue_files():
            if time.monotonic() > deadline or any("deferred" in str(path) for path in waiting):
                raise RuntimeError(f"{len(waiting)} messages are stuck:\n{self.log[-9000:]}")
            time.sleep(0.02)
        mail = self.directory / "mail"
        return [path.read_bytes() for path in sorted(mail.glob(f"{user or '*'}/new/*"))]

    def _queue_files(self) -> list[Path]:
        queues = ("incoming", "active", "deferred", "hold", "corrupt")
        return [
            path
            for name in queues
            for path in (self.directory / "queue" / name).rglob("*")
            if len(path.name) > 1  # one character: a directory that spreads the files
        ]

    def _make_directories(self) -> None:
        postfix = pwd.getpwnam("postfix").pw_uid
        postdrop = grp.getgrnam("postdrop").gr_gid
        nobody = pwd.getpwnam("nobody")
        for name in ("etc", "etc/sasl", "queue", "queue/pid", "data", "mail"):
            (self.directory / name).mkdir(mode=0o755)
        os.chown(self.directory / "data", postfix, -1)
        os.chown(self.directory / "mail", nobody.pw_uid, nobody.pw_gid)
        for name, mode in _QUEUE.items():
            path = self.directory / "queue" / name
            path.mkdir()
            os.chown(path, postfix, postdrop if mode & 0o010 else -1)
            path.chmod(mode)

    def _configure(self) -> None:
        nobody = pwd.getpwnam("nobody")
        self.port, self.ssl_port = _free_ports()
        aliases = self.directory / "aliases"
        values = {
            "directory": self.directory,
            "virtual_domain": "" if self._aliases else self.domain,
            "local_domain": self.domain if self._aliases else "",
            "local": "local:" if self._aliases else "error:no local users",
            "alias_maps": f"$default_database_type:{aliases}" if self._aliases else "",
            "uid": nobody.pw_uid,
            "gid": nobody.pw_gid,
            "port": self.port,
            "ssl_port": self.ssl_port,
            "size_limit": self._size_limit,
            "relay": (
                f"smtp:[127.0.0.1]:{self._relay_port}"
                if self._relay_port
                else "error:5.1.2 no mail leaves this server"
            ),
            "discard": ",".join(self._discard),
            "debug": self.host if self._log_commands else "",
            "mechanisms": self._mechanisms,
        }
        mailboxes = "".join(f"{user}@{self.domain} {user}/\n" for user in self.users)
        self._write("mailboxes", mailboxes)
        self._write("etc/main.cf", _MAIN.format_map(values))
        self._write("etc/master.cf", _MASTER.format_map(values))
        self._write("etc/sasl/smtpd.conf", _SASL.format_map(values))
        if self._aliases:
            self._write("aliases", self._aliases.format(directory=self.directory))
            program = [str(_program("postalias")), "-c", str(self.directory / "etc")]
            subprocess.run([*program, str(aliases)], check=True)
        certificate = CA.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(self.directory / "tls.pem")

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        # Whoever reads a file changed just now waits first, in case somebody is still at it.
        os.utime(path, (0, 0))

    def _add_user(self) -> None:
        database = self.directory / "sasldb2"
        user, _, realm = self.username.partition("@")
        subprocess.run(
            [str(_program("saslpasswd2")), "-p", "-c", "-f", str(database), "-u", realm, user],
            input=self.password.encode(),
            check=True,
        )
        os.chown(database, pwd.getpwnam("postfix").pw_uid, -1)

    def _start(self) -> None:
        """Start the master process as a child, in a session of its own, and wait for it."""
        postconf = [str(_program("postconf")), "-d", "-h", "daemon_directory"]
        daemons = subprocess.run(postconf, capture_output=True, text=True, check=True).stdout
        self._master = subprocess.Popen(
            [f"{daemons.strip()}/master", "-c", str(self.directory / "etc"), "-s"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while "daemon started" not in self.log:  # it listens by then
            if time.monotonic() > deadline or self._master.poll() is not None:
                # Without a word if a port is taken: its log needs a process of its own.
                ports = f"{self.port} and {self.ssl_port}"
                raise RuntimeError(f"no Postfix on {ports}: {self._stop()}{self.log}")
            time.sleep(0.02)

    def _stop(self) -> str:
        """Kill the master and its own, wait until they are gone; returns what they printed."""
        if self._master is None:
            return ""
        master, self._master = self._master, None
        # Its session is its own, and so is the process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(master.pid, signal.SIGKILL)
        # The end of the output means that nobody has it open any more.
        return master.communicate(timeout=20)[0].decode()


def _free_ports() -> tuple[int, int]:
    """Return two unused ports."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        return int(one.getsockname()[1]), int(other.getsockname()[1])
