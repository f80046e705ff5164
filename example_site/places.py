"""The demo's data folder and ports, from environment variables.

``DEMO_DIR`` is the folder of all data (``.demo``) and ``PORT`` the site's port (8000); the
SMTP servers listen on the three ports after it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = Path(os.environ.get("DEMO_DIR") or ROOT / ".demo").resolve()
CA_FILE = DIRECTORY / "ca.pem"


@dataclass(frozen=True)
class DemoServer:
    """An SMTP server of the demo; its port is the site's port plus ``offset``."""

    slug: str
    name: str
    offset: int
    username: str
    password: str
    tls: bool = True

    @property
    def port(self) -> int:
        return site_port() + self.offset


OFFICE = DemoServer("office", "Main office", 1, "office@example.com", "demo office")
NEWSLETTER = DemoServer("newsletter", "Newsletter provider", 2, "news@example.com", "demo news")
OWN = DemoServer("own", "Standard delivery", 3, "site@example.com", "demo site", tls=False)
SERVERS = (OFFICE, NEWSLETTER, OWN)


def site_port() -> int:
    """The port of the site.

    Raises:
        SystemExit: ``PORT`` isn't a number from 1 to 65532.
    """
    value = os.environ.get("PORT") or "8000"
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65532):
        raise SystemExit(f"PORT={value} is not a port. Enter a number from 1 to 65532.")
    return int(value)
