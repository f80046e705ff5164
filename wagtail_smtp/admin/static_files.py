"""The addresses of the plugin's static files, for ``class Media``."""

from django.utils.functional import lazy
from wagtail.admin.staticfiles import versioned_static

#: As Wagtail's ``versioned_static()``, but looked up when a page is rendered. With a manifest
#: storage an earlier look-up would fail in ``collectstatic``, which writes the manifest.
static_file = lazy(versioned_static, str)
