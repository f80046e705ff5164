"""``python -m example_site`` runs the demo; with arguments, it runs a Django command."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

os.environ["DJANGO_SETTINGS_MODULE"] = "example_site.settings"

import django
from django.core.management import call_command, execute_from_command_line

from example_site import places


def main() -> None:
    """Run the demo, or the Django command given as arguments."""
    if len(sys.argv) > 1:
        execute_from_command_line(sys.argv)
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        _run()
    except KeyboardInterrupt:
        print("\nThe demo has stopped. Its data is kept; `make demo-reset` removes it.")


def _stop(number: int, frame: FrameType | None) -> None:
    # Ignore further signals while the demo cleans up.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run() -> None:
    places.DIRECTORY.mkdir(parents=True, exist_ok=True)
    _check_ports()
    django.setup()

    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers import basehttp
    from django.core.wsgi import get_wsgi_application

    from example_site.inbox import servers

    servers.make_certificates()
    call_command("migrate", verbosity=0, interactive=False)
    call_command("seed_demo")
    with servers.running(), _worker():
        basehttp.run(
            places.HOST,
            places.site_port(),
            StaticFilesHandler(get_wsgi_application()),
            threading=True,
            on_bind=lambda port: _announce(),
        )


@contextmanager
def _worker() -> Iterator[None]:
    """Run an outbox worker in addition to the web server."""
    worker = subprocess.Popen([sys.executable, "-m", "example_site", "smtp_outbox", "--work"])
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _check_ports() -> None:
    port = places.site_port()
    other = port + 100 if port < 65000 else 8000
    for each in range(port, port + len(places.SERVERS) + 1):
        try:
            socket.create_server((places.HOST, each)).close()
        except OSError as error:
            raise SystemExit(
                f"Port {each} can't be used: {os.strerror(error.errno or 0)}. The demo needs ports "
                f"{port} to {port + len(places.SERVERS)}. Use others: make demo PORT={other}"
            ) from None


def _announce() -> None:
    from example_site.home.users import PASSWORD, ROLES

    site = f"http://{places.HOST}:{places.site_port()}"
    lines = [
        "",
        f"  Try it   {site}/",
        f"  Admin    {site}/admin/",
        f"  Inbox    {site}/inbox/",
        *(f"  SMTP     {places.HOST}:{each.port}  {each.name}" for each in places.SERVERS),
        "",
        f"  Log in with the password “{PASSWORD}” as:",
        *(f"    {name:10} {what}" for name, what in ROLES.items()),
        "",
        "  Press Ctrl-C to stop.",
        "",
    ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
