"""Which Wagtail site a message belongs to, and how that was found."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest
from wagtail.models import Site

from wagtail_smtp.config.values import OTHER_SITE
from wagtail_smtp.live import sites
from wagtail_smtp.live.db import autonomous, connections
from wagtail_smtp.runtime import process
from wagtail_smtp.sites import validate_site

logger = logging.getLogger(__name__)

ATTRIBUTE = "email_site"

#: Functions of Wagtail that send email about a page, as module and qualified name, and the variable
#: that is or contains the page. Its site is right even where the request is one to another site's
#: admin.
PAGES: Mapping[tuple[str, str], str] = {
    ("wagtail.contrib.forms.models", "EmailFormMixin.process_form_submission"): "self",
    ("wagtail.contrib.forms.models", "EmailFormMixin.send_mail"): "self",
    ("wagtail.admin.mail", "send_notification"): "extra_context",
    ("wagtail.admin.mail", "EmailNotificationMixin.send_emails"): "context",
}


@dataclass(frozen=True, slots=True)
class MessageSite:
    """A message's site.

    Attributes:
        key: the site's primary key; :data:`OTHER_SITE` if there is none.
        name: its address, such as ``www.example.com``.
        source: ``message``, ``context``, ``page``, ``request``, ``default`` or ``resent``; empty:
            nothing names a site, and the default site wasn't looked up.
    """

    key: int = OTHER_SITE
    name: str = ""
    source: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether something names a site that could not be looked up."""
        return bool(self.source) and self.key == OTHER_SITE

    @classmethod
    def of(cls, site: Site | sites.KnownSite | None, source: str) -> "MessageSite":
        """The message's site, found in this way; one without a source if there is none."""
        if site is None:
            return NO_SITE
        if not isinstance(site, sites.KnownSite):
            site = sites.KnownSite(site.pk, site.hostname, site.port)
        return cls(site.key, site.address, source)


NO_SITE = MessageSite()


def page_of(frame: FrameType, variable: str) -> Any:
    """The page that a function from :data:`PAGES` sends email about; None if it is none."""
    found = frame.f_locals.get(variable)
    page = found.get("page") if isinstance(found, Mapping) else found
    return page if hasattr(page, "get_url_parts") else None


def find(mark: Any, context: Any, page: Any, request: Any) -> MessageSite:
    """Return the site from the first source that names one.

    The default site isn't looked up: that takes a query, and is only of use if a set uses sites.

    Args:
        mark: the message's attribute, or None; so the others.
        context: the site of the surrounding block.
        page: that the message is about, from :func:`page_of`.
        request: that is being answered.

    Raises:
        ValueError: a mark names no site, or one that doesn't exist.
    """
    for given, source in ((mark, "message"), (context, "context")):
        if given is not None:
            return _marked(validate_site(given), source)
    if page is not None and (found := _looked_up(lambda: _of_page(page), "page")).source:
        return found
    return _looked_up(lambda: _of_request(request), "request") if request is not None else NO_SITE


def _marked(mark: Any, source: str) -> MessageSite:
    if not isinstance(mark, str):
        return MessageSite.of(mark, source)
    return _looked_up(lambda: MessageSite.of(sites.find(mark, sites.known()), source), source)


def _of_page(page: Any) -> MessageSite:
    # Not get_site(), which takes a query; Wagtail caches this.
    parts = page.get_url_parts()
    if parts is None:
        return NO_SITE  # it is below no site
    key, root_url, _path = parts
    return MessageSite(key, urlsplit(root_url or "").netloc, "page")


def _of_request(request: HttpRequest) -> MessageSite:
    # Wagtail remembers the site with the request.
    return MessageSite.of(Site.find_for_request(request), "request")


def default_site() -> MessageSite:
    """The default site; one with the source ``default`` only if it can't be looked up."""
    return _looked_up(lambda: MessageSite.of(sites.default(), "default"), "default")


def _looked_up(look_up: Callable[[], MessageSite], source: str) -> MessageSite:
    """The result of ``look_up``, also on a running event loop, where Django refuses queries."""
    try:
        if process.runs_event_loop():
            return autonomous.write(look_up, connections.write_alias())
        return look_up()
    except ValueError:
        if source in ("message", "context"):
            raise  # it names no site
        logger.warning("The site of a message can't be found.", exc_info=True)
    except Exception:
        logger.warning("The site of a message can't be looked up.", exc_info=True)
    return MessageSite(source=source)
