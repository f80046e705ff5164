"""The demo's URLs: the inbox, the invoice, the Wagtail admin and the pages."""

from django.urls import include, path
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.documents import urls as wagtaildocs_urls

from example_site.home.views import invoice

urlpatterns = [
    path("admin/", include(wagtailadmin_urls)),
    path("email/webhooks/", include("wagtail_smtp.urls")),
    path("documents/", include(wagtaildocs_urls)),
    path("inbox/", include("example_site.inbox.urls")),
    path("invoice/", invoice, name="invoice"),
    path("", include(wagtail_urls)),
]
