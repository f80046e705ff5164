"""List-Unsubscribe headers (RFC 2369, RFC 8058) and signed tokens for the links in them.

With these headers, mail programs show a button to unsubscribe. Gmail and Yahoo require them of
everyone who sends many newsletters.
"""

import re
from datetime import timedelta
from urllib.parse import quote, urlsplit

from django.core import signing

from wagtail_smtp.config.validation import is_email_address

_SALT = "wagtail_smtp.unsubscribe"
#: What a URI consists of (RFC 3986). Other characters have to be percent-encoded.
_URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
#: A line of a header has at most 998 characters (RFC 5322 2.1.1), and both links share one.
_LONGEST = 800


def unsubscribe_headers(
    url: str = "", *, mailto: str = "", subject: str = "unsubscribe", one_click: bool = True
) -> dict[str, str]:
    """Return the headers that let a recipient unsubscribe, for ``EmailMessage(headers=…)``.

    Args:
        url: of a page that is about this recipient and list. A POST to it unsubscribes without a
            login, a cookie or a redirect.
        mailto: an address that unsubscribes the senders of email to it.
        subject: of the email to ``mailto``.
        one_click: whether a program may send that POST itself (RFC 8058). Without ``url``, it has
            no effect.

    Raises:
        ValueError: there is neither, one of them isn't valid, or ``one_click`` needs ``https``.
    """
    if not (url or mailto):
        raise ValueError("Give the URL to unsubscribe at, the address, or both.")
    links = []
    if url:
        _check_url(url, one_click=one_click)
        links.append(url)
    if mailto:
        links.append(_mailto(mailto, subject))
    headers = {"List-Unsubscribe": ", ".join(f"<{link}>" for link in links)}
    if url and one_click:
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers


def _check_url(url: str, *, one_click: bool) -> None:
    if not _URI.fullmatch(url):
        raise ValueError(
            "The URL to unsubscribe at contains a space, a line break, an angle bracket or another "
            "character that has to be percent-encoded."
        )
    parts = urlsplit(url)
    if one_click and parts.scheme.lower() != "https":
        raise ValueError("One-click unsubscribing needs a URL that begins with https://.")
    if parts.scheme.lower() not in ("https", "http") or not parts.hostname:
        raise ValueError("The URL to unsubscribe at must be complete, with https:// and the host.")
    if len(url) > _LONGEST:
        raise ValueError(f"The URL to unsubscribe at has more than {_LONGEST} characters.")


def _mailto(address: str, subject: str) -> str:
    if not (address.isascii() and is_email_address(address)):
        raise ValueError(
            f"{address!r} is not an address for unsubscribing. Write it without a name, and with "
            "its domain in ASCII."
        )
    if not subject.isprintable():
        raise ValueError("The subject for unsubscribing contains a line break.")
    query = f"?subject={quote(subject, safe='')}" if subject else ""
    # RFC 6068
    return f"mailto:{quote(address, safe='@')}{query}"


def unsubscribe_token(subscriber: str, mailing_list: str = "") -> str:
    """Return a signed text for a URL, which says who unsubscribes from which list.

    Everyone who has the URL can read it: it is signed, not encrypted.

    Args:
        subscriber: an address, or better a key that isn't personal.
        mailing_list: the list; empty if there is only one.
    """
    return signing.dumps([subscriber, mailing_list], salt=_SALT)


def read_unsubscribe_token(token: str, max_age: int | timedelta | None = None) -> tuple[str, str]:
    """Return the subscriber and the list of a token.

    Args:
        max_age: for how long it is valid, in seconds; None: always. Recipients use old links too,
            and some laws require them to work for a month or longer.

    Raises:
        django.core.signing.BadSignature: it isn't a token of this site, or is too old.
    """
    subscriber, mailing_list = signing.loads(token, salt=_SALT, max_age=max_age)
    return str(subscriber), str(mailing_list)
