"""HTTP for OAuth 2: a session with one host and one time limit for all its requests.

The requests contain secrets, so nothing is sent to another host or unencrypted over a network.
"""

import time
from urllib.parse import urlsplit

import requests

from wagtail_smtp.config.oauth import is_loopback
from wagtail_smtp.exceptions import DestinationRefused
from wagtail_smtp.transports.http import Adapter, guarded
from wagtail_smtp.transports.oauth.client import LONGEST
from wagtail_smtp.transports.smtp.tls import ssl_context, trust_as_given


class Session(requests.Session):
    """The session that the OAuth libraries use; close it afterwards.

    Args:
        url: the only host and port to connect to.
        ca_certificates: a private authority to trust in addition to the system's, in PEM format.
    """

    def __init__(self, url: str, ca_certificates: str = "") -> None:
        super().__init__()
        self._origin = _origin(url)
        context = ssl_context("")
        if ca_certificates:
            # It was entered for the mail server; the identity provider may be a public one.
            context.load_verify_locations(cadata=ca_certificates)
            trust_as_given(context)
        self._adapter = Adapter(context, LONGEST)
        self._adapter.until = time.monotonic() + LONGEST
        guarded(self, self._adapter)

    def get_adapter(self, url: str | bytes) -> Adapter:  # type: ignore[override]
        """Always use ours, even if a library mounts another."""
        return self._adapter

    def send(self, request: requests.PreparedRequest, **kwargs: object) -> requests.Response:
        """Send one request and read the response.

        Raises:
            DestinationRefused: another host, or unencrypted.
            requests.RequestException: no response in time.
        """
        scheme, host, _port = origin = _origin(request.url or "")
        if origin != self._origin or not (scheme == "https" or is_loopback(host)):
            raise DestinationRefused(f"OAuth 2 doesn't send requests to {scheme}://{host}.")
        if time.monotonic() >= self._adapter.until:
            raise requests.Timeout("The identity provider did not respond in time.")
        try:
            return super().send(request, **kwargs | {"allow_redirects": False})
        except requests.ConnectionError:
            refused = self._adapter.progress.error
            if isinstance(refused, DestinationRefused):
                raise refused from None
            raise


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    ports = {"https": 443, "http": 80}
    return parts.scheme, (parts.hostname or "").lower(), parts.port or ports.get(parts.scheme)
