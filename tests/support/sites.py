"""Two Wagtail sites with a page each."""

from wagtail.models import Locale, Page, Site


def make_sites(default: str = "example.org", other: str = "example.net") -> tuple[Site, Site]:
    """The default site and another one, by their hostnames; there are no others."""
    Locale.objects.get_or_create(language_code="en")
    root = Page.get_first_root_node() or Page.add_root(title="Root")
    Site.objects.all().delete()
    return _site(root, default, is_default_site=True), _site(root, other)


def _site(root: Page, hostname: str, **values: bool) -> Site:
    page = root.add_child(title=hostname, slug=hostname.replace(".", "-"))
    return Site.objects.create(hostname=hostname, root_page=page, **values)
