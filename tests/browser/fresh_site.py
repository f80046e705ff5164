"""The demo without settings sets, where some host names are servers of the tests.

``python -m tests.browser.fresh_site``; ``WAGTAIL_SMTP_TEST_NAMES`` has the servers' ports by host,
as JSON. So the tutorials can be followed to the letter, and their pictures show real tests.
"""

import json
import os
import socket
from typing import Any

from example_site import __main__ as demo

PORTS = json.loads(os.environ["WAGTAIL_SMTP_TEST_NAMES"])
_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
    """Ask the system, but for the servers of the tests."""
    if host in PORTS:
        host, port = "127.0.0.1", PORTS[host]
    return _getaddrinfo(host, port, *args, **options)


def main() -> None:
    """Run it."""
    socket.getaddrinfo = getaddrinfo

    import django

    django.setup()

    from example_site import places
    from example_site.home import sets

    sets.create = lambda admin: sets.PORT_FILE.write_text(str(places.site_port()))
    demo.main()


if __name__ == "__main__":
    main()
