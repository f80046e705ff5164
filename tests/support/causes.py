"""Texts of causes by slug, so that tests don't repeat them."""

from wagtail_smtp.causes import CAUSES

_BY_SLUG = {cause.slug: cause for cause in CAUSES}


def title(slug):
    return str(_BY_SLUG[slug].title)


def advice(slug):
    return str(_BY_SLUG[slug].advice)
