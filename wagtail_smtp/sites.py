"""Which Wagtail site email belongs to: a mark for a block of code, and the current request."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

#: The site of the innermost block of :func:`email_site`; None outside.
context_site: ContextVar[Any] = ContextVar("wagtail_smtp_site", default=None)
#: The request that is being answered; None outside of requests, or without the middleware.
current_request: ContextVar[Any] = ContextVar("wagtail_smtp_request", default=None)


def validate_site(site: Any) -> Any:
    """Return ``site`` if it is a saved Site or a hostname, with or without a port.

    Whether there is a site with this hostname is only known when a message is sent.

    Raises:
        ValueError: it is neither.
    """
    # Not isinstance(): models can't be imported before the app registry is ready.
    if isinstance(getattr(site, "pk", None), int) and hasattr(site, "hostname"):
        return site
    if isinstance(site, str) and site and not any(c.isspace() or c in "/@" for c in site):
        return site
    raise ValueError(
        f"{site!r} is not a site. Use a saved Site of Wagtail, or its hostname, for example "
        "'www.example.com' or 'localhost:8000'."
    )


@contextmanager
def email_site(site: Any) -> Iterator[None]:
    """Make every message sent inside the block belong to this site.

    Blocks can be nested: the innermost decides. The site also applies in ``sync_to_async`` and in
    tasks of the running event loop, but not in threads that the code starts.

    Args:
        site: a :class:`wagtail.models.Site`, or its hostname as text, with a port if several
            sites have the hostname.

    Raises:
        ValueError: ``site`` is neither. Sending raises it if no site has the hostname.
    """
    token = context_site.set(validate_site(site))
    try:
        yield
    finally:
        context_site.reset(token)


@contextmanager
def during_request(request: Any) -> Iterator[None]:
    """Make messages sent inside the block belong to the site of ``request``."""
    token = current_request.set(request)
    try:
        yield
    finally:
        current_request.reset(token)
