"""The URLs of the pages about suppressed addresses."""

from django.urls import path
from django.utils.translation import gettext_lazy

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import EmailViewSet
from wagtail_smtp.admin.suppressed import files, pages
from wagtail_smtp.admin.suppressed.listing import ListView


class SuppressedViewSet(EmailViewSet):
    """The URLs below ``email/suppressed/``."""

    name = "wagtail_smtp_suppressed"
    url_prefix = "email/suppressed"
    icon = "no-view"
    menu_label = gettext_lazy("Suppressed addresses")
    menu_name = "smtp-suppressed"
    any_permission_required = (permissions.VIEW_SUPPRESSED,)

    def get_urlpatterns(self):
        view = self.construct_view
        return [
            path("", view(ListView), name="index"),
            path("results/", view(ListView, results_only=True), name="results"),
            path("add/", view(pages.AddView), name="add"),
            path("import/", view(files.ImportView), name="import"),
            path("export/", view(files.ExportView), name="export"),
            path("<int:pk>/", view(pages.AddressView), name="address"),
            path("<int:pk>/remove/", view(pages.RemoveView), name="remove"),
        ]
