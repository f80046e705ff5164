"""Where the demo keeps its data and which ports it uses; both come from the environment.

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
    """One SMTP server of the demo; ``offset`` is the distance of its port to the site's."""

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
OWN = DemoServer("own", "The site's own server", 3, "site@example.com", "demo site", tls=False)
SERVERS = (OFFICE, NEWSLETTER, OWN)


def site_port() -> int:
    """The port of the site.

    Raises:
        SystemExit: ``PORT`` is no port with three more after it.
    """
    value = os.environ.get("PORT") or "8000"
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65532):
        raise SystemExit(f"PORT={value} is no port: give a number from 1 to 65532.")
    return int(value)
