"""Which category a message has, and who said so."""

import sys
from dataclasses import dataclass

from django.core.mail import EmailMessage

from wagtail_smtp.categories import OTHER, SECURITY, context_categories, validate_category
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.call_sites import CALL_SITES

HEADER = "X-Email-Category"
ATTRIBUTE = "email_category"

#: How far up the stack a call site is looked for; a walk that long takes 7 µs.
_FRAMES = 40


@dataclass(frozen=True, slots=True)
class Classification:
    """A category and its source: ``message``, ``context``, ``mailer``, ``call site`` or
    ``default``."""

    category: str
    source: str


def classify(message: EmailMessage, mailer_category: str | None = None) -> Classification:
    """The category of ``message``: the first that anybody names, but ``security`` wins.

    To be called on the stack of the code that sends, since that is one of the witnesses.

    Raises:
        ValueError: the message or the mailer names an invalid category.
    """
    found = [
        *((slug, "message") for slug in _marks(message)),
        *((slug, "context") for slug in context_categories()),
        *([(validate_category(mailer_category), "mailer")] if mailer_category else []),
        *((slug, "call site") for slug in _call_sites()),
    ]
    for slug, source in found:
        if slug == SECURITY:
            return Classification(slug, source)
    return Classification(*found[0]) if found else Classification(OTHER, "default")


def _marks(message: EmailMessage) -> list[str]:
    marks = [getattr(message, ATTRIBUTE, None)]
    marks += [
        str(value).strip()
        for name, value in message.extra_headers.items()
        if name.strip().lower() == HEADER.lower()
    ]
    return [validate_category(mark) for mark in marks if mark is not None]


def _call_sites() -> list[str]:
    """Categories of the call sites on the stack, the innermost first."""
    sites = dict(CALL_SITES)
    for site, slug in conf.CATEGORY_RULES.items():
        module, _separator, name = site.partition(":")
        sites[module, name] = slug
    found = []
    frame = sys._getframe(1)
    for _ in range(_FRAMES):
        category = sites.get((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))
        if category is not None:
            found.append(category)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found
