"""Send alerts with Apprise. This module alone uses it, and imports it when it is needed.

Apprise's plugins are imported one by one: all of them together take seconds, and include some that
run programs. Redirects are not followed, nothing is stored on disk, and nothing is logged, because
Apprise and urllib3 log URLs, which are secrets.
"""

import functools
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.channels import services
from wagtail_smtp.channels.plain_text import MAX_SUBJECT, MAX_TEXT, neutral

#: The command that installs the extra.
INSTALL = 'pip install "wagtail-smtp[alerts]"'
#: Seconds to connect, and to wait for data.
CONNECT_TIMEOUT, READ_TIMEOUT = 4.0, 8.0
#: Seconds for one channel. A server that sends its response byte by byte is abandoned.
TIME_LIMIT = 20.0
#: Loggers that URLs are written to.
_LOGGERS = (
    "apprise",
    "requests",
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "urllib3.connection",
)

_SEVERITIES = {
    AlertKind.RECOVERED: "success",
    AlertKind.LIVE: "info",
    AlertKind.TEST: "info",
    AlertKind.FAILING: "failure",
    AlertKind.GIVEN_UP: "failure",
    AlertKind.WAITING: "failure",
}


class InvalidURL(Exception):
    """An Apprise URL can't be used. The message says why, without any of it."""


class NotSent(Exception):
    """A service did not accept an alert. The message is short and contains no URL."""


class TimedOut(Exception):
    """A service did not answer in time, so it may have the alert."""


def is_installed() -> bool:
    """Whether Apprise is installed."""
    return find_spec("apprise") is not None


class _Silence(logging.Filter):
    """Drops what is logged in threads that talk to a service, and keeps the HTTP status."""

    def __init__(self) -> None:
        super().__init__()
        self.of_thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        statuses: list[str] | None = getattr(self.of_thread, "statuses", None)
        if statuses is None:
            return True
        with suppress(Exception):  # a text that doesn't fit its arguments
            statuses.extend(re.findall(r"\berror=(\d{3})\b", record.getMessage()))
        return False


_silence = _Silence()


@contextmanager
def _silently() -> Iterator[list[str]]:
    """Log nothing in this thread; yields the HTTP statuses that Apprise would have logged."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_silence)  # adding it again changes nothing
    statuses: list[str] = []
    _silence.of_thread.statuses = statuses
    try:
        yield statuses
    finally:
        _silence.of_thread.statuses = None


@functools.cache
def _asset() -> Any:
    apprise = import_module("apprise")
    return apprise.AppriseAsset(
        app_id="wagtail-smtp",
        app_desc="Email alerts",
        app_url="https://wagtail-smtp.readthedocs.io/",
        http_redirects=False,
        async_mode=False,
        pgp_autogen=False,
        pem_autogen=False,
        storage_mode="memory",
        allow_templates=False,
    )


def load(url: str) -> Any:
    """Return Apprise's plugin for ``url``.

    Raises:
        InvalidURL: it is not a URL of a known service, or incomplete.
    """
    service = services.service_of(url)
    if service is None:
        raise InvalidURL("not a service that alerts can be sent to")
    if not is_installed():
        raise InvalidURL("Apprise is not installed")
    with _silently():
        plugin = _plugin(service, services.scheme(url))
        try:
            # A channel's name begins with #, which would be a fragment.
            values = plugin.parse_url(url.replace("/#", "/%23"))
            # Never load a file or another address.
            values.pop("template", None)
            found = plugin(**values | {"asset": _asset(), "tag": set()})
        except Exception:
            # Not chained: the error contains parts of the URL.
            raise InvalidURL("incomplete, or not in the service's format") from None
    found.redirects = False
    found.socket_connect_timeout, found.socket_read_timeout = CONNECT_TIMEOUT, READ_TIMEOUT
    return found


def _plugin(service: services.Service, scheme: str) -> Any:
    with suppress(ImportError):
        module = import_module(f"apprise.plugins.{service.module}")
        base = import_module("apprise.plugins.base").NotifyBase
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, base) and scheme in _schemes(found):
                return found
    raise InvalidURL("not supported by the installed version of Apprise")


def _schemes(plugin: Any) -> Iterator[str]:
    for given in (plugin.protocol, plugin.secure_protocol):
        yield from (given,) if isinstance(given, str) else given or ()


def send(url: str, kind: str, subject: str, text: str) -> None:
    """Send an alert within :data:`TIME_LIMIT`.

    Raises:
        InvalidURL: see :func:`load`.
        NotSent: the service refused it, or could not be reached.
        TimedOut: it may have been sent.
    """
    plugin = load(url)
    failures: list[Exception] = []
    thread = threading.Thread(
        target=_notify, args=(plugin, kind, subject, text, failures), daemon=True,
        name="wagtail_smtp channel",
    )  # fmt: skip
    try:
        thread.start()
    except RuntimeError:  # the process ends, or has too many threads
        _notify(plugin, kind, subject, text, failures)
    else:
        thread.join(TIME_LIMIT)
        if thread.is_alive():
            raise TimedOut
    if failures:
        raise failures[0]


def _notify(plugin: Any, kind: str, subject: str, text: str, failures: list[Exception]) -> None:
    with _silently() as statuses:
        try:
            is_sent = plugin.notify(
                title=neutral(subject, MAX_SUBJECT),
                body=neutral(text or subject, MAX_TEXT),
                notify_type=_SEVERITIES.get(AlertKind(kind), "warning"),
                body_format="text",
            )
        except Exception as error:
            failures.append(NotSent(type(error).__name__))
            return
    if not is_sent:
        failures.append(NotSent(f"HTTP {statuses[-1]}" if statuses else "no response"))
