"""How certificates are checked."""

import ssl
import weakref
from typing import Literal

from wagtail_smtp.exceptions import TransportUnavailable

#: The contexts in use, by what they are for and their authorities: each takes time to make,
#: and about 0.6 MB. What urllib3 sets in one, such as ALPN, must not reach mail servers.
_in_use: "weakref.WeakValueDictionary[tuple[str, str], ssl.SSLContext]"
_in_use = weakref.WeakValueDictionary()


def shared_context(use: Literal["smtp", "http"], ca_certificates: str) -> ssl.SSLContext:
    """The context of all transports with the same authorities, as long as one of them has it.

    Raises:
        TransportUnavailable: it can't be made here, so nothing was connected to.
    """
    context = _in_use.get((use, ca_certificates))
    if context is None:
        try:
            context = _in_use[use, ca_certificates] = ssl_context(ca_certificates)
        except (OSError, ValueError) as error:
            raise TransportUnavailable(
                f"This process can't set up TLS: {error}", phase="tls"
            ) from error
    return context


def ssl_context(ca_certificates: str) -> ssl.SSLContext:
    """Verifies certificate and name, against an authority of one's own if it is named.

    Args:
        ca_certificates: in PEM format; empty: the system's authorities.

    Raises:
        ssl.SSLError, ValueError: that is no PEM.
    """
    context = ssl.create_default_context(cadata=ca_certificates or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_certificates:
        trust_as_given(context)
    return context


def trust_as_given(context: ssl.SSLContext) -> None:
    """Take the certificates that someone entered for what they are.

    Python 3.13 refuses those that leave out what RFC 5280 wants, as many private authorities
    do, and began to trust an intermediate authority without its root. The Python of the site
    shouldn't decide that.
    """
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
