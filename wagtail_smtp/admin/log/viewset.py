"""The URLs of the delivery log."""

from django.urls import path
from django.utils.translation import gettext_lazy

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import EmailViewSet
from wagtail_smtp.admin.log import actions, held, message
from wagtail_smtp.admin.log.entry import EntryView
from wagtail_smtp.admin.log.export import ExportView
from wagtail_smtp.admin.log.listing import LogView

#: Pages about one entry, by name.
_OF_ENTRY = {
    "frame": message.FrameView,
    "source": message.SourceView,
    "download": message.DownloadView,
    "resend": actions.ResendView,
    "try_now": actions.TryNowView,
    "cancel": actions.CancelView,
    "release": held.ReleaseView,
    "delete": held.DeleteView,
}


class LogViewSet(EmailViewSet):
    """The URLs below ``email/log/``."""

    name = "wagtail_smtp_log"
    url_prefix = "email/log"
    icon = "list-ul"
    menu_label = gettext_lazy("Delivery log")
    menu_name = "smtp-log"
    any_permission_required = (permissions.VIEW_LOG,)

    def get_urlpatterns(self):
        view = self.construct_view
        file_view = message.AttachmentView
        return [
            path("", view(LogView), name="index"),
            path("results/", view(LogView, results_only=True), name="results"),
            path("export/", view(ExportView), name="export"),
            path("held/", view(held.HeldView), name="held"),
            path("held/results/", view(held.HeldView, results_only=True), name="held_results"),
            path("held/release/", view(held.ReleaseAllView), name="release_all"),
            path("held/delete/", view(held.DeleteAllView), name="delete_all"),
            path("<int:pk>/", view(EntryView), name="entry"),
            path("<int:pk>/files/<int:number>/", view(file_view), name="attachment"),
            *(
                path(f"<int:pk>/{name}/", view(of_entry), name=name)
                for name, of_entry in _OF_ENTRY.items()
            ),
        ]
