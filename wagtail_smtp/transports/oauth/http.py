"""HTTP for OAuth 2: one session with one host, all its requests within one time.

What is posted here are secrets, so nothing goes elsewhere, or in plain text over a network.
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
    """For the libraries that speak the protocol; to be closed.

    Args:
        url: whose host and port are the only ones that are talked to.
        ca_certificates: of a private authority, besides the system's, in PEM format.
    """

    def __init__(self, url: str, ca_certificates: str = "") -> None:
        super().__init__()
        self._origin = _origin(url)
        context = ssl_context("")
        if ca_certificates:
            # It was given for the mail server; the provider of tokens may be a public one.
            context.load_verify_locations(cadata=ca_certificates)
            trust_as_given(context)
        self._adapter = Adapter(context, LONGEST)
        self._adapter.until = time.monotonic() + LONGEST
        guarded(self, self._adapter)

    def get_adapter(self, url: str | bytes) -> Adapter:  # type: ignore[override]
        """The guarded one, whatever a library may have mounted."""
        return self._adapter

    def send(self, request: requests.PreparedRequest, **kwargs: object) -> requests.Response:
        """Send one request, and read its answer.

        Raises:
            DestinationRefused: it goes elsewhere, or would not be encrypted.
            requests.RequestException: no answer, or one too late.
        """
        scheme, host, _port = origin = _origin(request.url or "")
        if origin != self._origin or not (scheme == "https" or is_loopback(host)):
            raise DestinationRefused(f"OAuth 2 sends nothing to {scheme}://{host}.")
        if time.monotonic() >= self._adapter.until:
            raise requests.Timeout("The identity provider took too long.")
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
