"""URLs of the benchmarks' project: Wagtail's admin, and Django's as the plain listing."""

from typing import Any

from django.contrib.admin import AdminSite, ModelAdmin
from django.urls import include, path
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.admin.auth import require_admin_access
from wagtail.admin.views.generic import IndexView

from wagtail_smtp.models import LogEntry


class LogAdmin(ModelAdmin):
    """What one writes without a thought of a long log."""

    list_display = ("subject", "state", "created_at", "recipient", "category", "via")
    list_filter = ("state", "category")
    search_fields: tuple[str, ...] = ("subject",)
    list_per_page = 50

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).prefetch_related("recipients")

    def recipient(self, entry: LogEntry) -> str:
        return ", ".join(item.address for item in entry.recipients.all())


class RecipientAdmin(LogAdmin):
    """The same, searching recipients."""

    search_fields = ("recipients__address",)


plain = AdminSite("plain")
plain.register(LogEntry, LogAdmin)
plain_recipients = AdminSite("plain_recipients")
plain_recipients.register(LogEntry, RecipientAdmin)


class WagtailListing(IndexView):
    """The same with Wagtail's own listing."""

    model = LogEntry
    list_display: tuple[str, ...] = ("subject", "state", "created_at", "category", "via")
    list_filter = ("state", "category")
    search_fields: tuple[str, ...] = ("subject",)
    is_searchable = True
    index_url_name = index_results_url_name = "plain_wagtail"
    default_ordering = "-id"
    paginate_by = 50
    page_title = "Log"


urlpatterns = [
    path("admin/plain/", require_admin_access(WagtailListing.as_view()), name="plain_wagtail"),
    path("plain/", plain.urls),
    path("plain-recipients/", plain_recipients.urls),
    path("admin/", include(wagtailadmin_urls)),
    path("", include(wagtail_urls)),
]
