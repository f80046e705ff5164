"""URLs of the plugin's static files, for ``class Media``."""

from django.utils.functional import lazy
from wagtail.admin.staticfiles import versioned_static

#: Wagtail's ``versioned_static()``, called when a page is rendered. With a manifest storage, an
#: earlier call would fail in ``collectstatic``, which has yet to write the manifest.
static_file = lazy(versioned_static, str)
