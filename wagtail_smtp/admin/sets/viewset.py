"""The *SMTP settings* snippet: listing, form, order."""

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from wagtail.admin import messages
from wagtail.admin.ui.components import MediaContainer
from wagtail.admin.ui.tables import Column, StatusTagColumn
from wagtail.admin.utils import get_valid_next_url_from_request
from wagtail.admin.widgets.button import HeaderButton
from wagtail.log_actions import log
from wagtail.snippets.bulk_actions.snippet_bulk_action import SnippetBulkAction
from wagtail.snippets.side_panels import SnippetStatusSidePanel
from wagtail.snippets.views import snippets

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import (
    PUT_FIRST,
    RELOAD,
    SETS,
    RequiresPermission,
    RequiresTables,
    WagtailView,
    reload_buttons,
)
from wagtail_smtp.admin.connection_check import views
from wagtail_smtp.admin.connection_check.views import OffersTests, check_buttons
from wagtail_smtp.admin.labels import local_time
from wagtail_smtp.admin.sets import overview as sets_overview
from wagtail_smtp.admin.sets.consent import token_notices
from wagtail_smtp.admin.sets.locks import managed_text
from wagtail_smtp.admin.sets.managed import (
    ManagedColumn,
    ManagedOrder,
    ManagedOrderingColumn,
    check_order,
    may_be_first,
)
from wagtail_smtp.admin.sets.overview import Overview, notices
from wagtail_smtp.admin.sets.panels import EDIT_HANDLER
from wagtail_smtp.admin.sets.secret_form import SECRET_FIELDS
from wagtail_smtp.config_files.sets_file import manager
from wagtail_smtp.live import draft_configuration
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.live.publish import free_name, revoke
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.transports import standard


class NoBulkDelete(SnippetBulkAction):
    """Replace Wagtail's action, which would show the names of sets to every user."""

    display_name = aria_label = ""
    action_type = "delete"
    models = [SettingsSet]

    def dispatch(self, *args, **kwargs):
        raise Http404


class StatusPanel(SnippetStatusSidePanel):
    """How the set is used; Wagtail calls every snippet without drafts "Live"."""

    def get_status_templates(self, context):
        return ["wagtail_smtp/settings_sets/status.html"]

    def get_context_data(self, parent_context):
        overview = Overview.now()
        stored = SettingsSet.objects.get(pk=self.object.pk)
        used = overview.usage.get(str(stored.key))
        return super().get_context_data(parent_context) | {
            "usage": used,
            "paused_until": local_time(used.paused_until) if used and used.paused_until else None,
            "set_status": overview.in_use(stored),
            "set_changes": overview.changes(stored),
        }


class LockedPost(WagtailView):
    """View mixin: each change is checked against the result of the one before."""

    @in_transaction
    def post(self, request, *args, **kwargs):
        DeliverySettings.lock()
        return super().post(request, *args, **kwargs)


class NotManaged(WagtailView):
    """View mixin: a set that a file manages can't be changed."""

    def post(self, request, *args, **kwargs):
        # Not the object, which a file may have begun to manage while this waited for the lock.
        if text := managed_text(get_object_or_404(SettingsSet, pk=self.object.pk)):
            messages.error(request, text)
            return HttpResponseRedirect(reverse(SETS))
        return super().post(request, *args, **kwargs)


class SetFormView(LockedPost, OffersTests):
    """View mixin of the form's pages: the change is saved but not live, and the message says so."""

    @method_decorator(sensitive_post_parameters(*SECRET_FIELDS))
    def dispatch(self, *args, **kwargs):
        return super().dispatch(*args, **kwargs)

    def get_side_panels(self):
        return MediaContainer([])

    def get_success_message(self, instance=None):
        text = _(
            "“%(name)s” saved. It is not live yet: nothing changes until someone reloads the "
            "application."
        ) % {"name": instance or self.object}
        if not self.request.user.has_perm(permissions.RELOAD):
            names = permissions.names_of_those_who_may(permissions.RELOAD)
            if names:
                text += " " + _("To make it live, ask %s.") % ", ".join(names)
        return text

    def get_success_buttons(self):
        return reload_buttons(self.request)

    def save_instance(self):
        """Save the form, with an audit entry that names the changed fields."""
        is_new = self.form.instance.pk is None
        if is_new:
            last = SettingsSet.objects.order_by("-sort_order").first()
            self.form.instance.sort_order = (last.sort_order or 0) + 1 if last else 0
        labels = [] if is_new else self.form.changed_labels()
        item = self.form.save()
        self.has_content_changes = True
        log(
            instance=item,
            action="wagtail.create" if is_new else "wagtail.edit",
            content_changed=True,
            data={"revision": item.revision, "fields": labels},
        )
        return item


class AddView(SetFormView, snippets.CreateView):
    """Add a set."""


class CopyView(SetFormView, snippets.CopyView):
    """Add a set with another's values, except its name, secrets and whether it is enabled."""

    def get_object(self, queryset=None):
        # Wagtail checks this since 7.4.3; before, adding was enough to see the values.
        if not self.permission_policy.user_has_any_permission(
            self.request.user, ["change", "view"]
        ):
            raise PermissionDenied
        return super().get_object(queryset)

    def get_initial_form_instance(self):
        original = self.get_object()
        copied = SettingsSet()
        copied.thaw(original.frozen(original.report_emails.all(), original.site_senders.all()))
        copied.name, copied.enabled = free_name(original.name), False
        copied.secret_id = copied.webhook_secret_id = None
        return copied


class EditView(SetFormView, NotManaged, snippets.EditView):
    """Edit a set, or show one that a file manages."""

    #: Wagtail's word for a page that only shows an object.
    locked_title = gettext_lazy("Inspect")

    def get_page_title(self):
        return self.locked_title if manager(self.object) else super().get_page_title()

    def get_side_panels(self):
        return MediaContainer(
            [
                StatusPanel(
                    self.object,
                    self.request,
                    history_url=self.get_history_url(),
                    last_updated_info=self.get_last_updated_info(),
                )
            ]
        )

    @property
    def can_delete(self):
        return super().can_delete and not manager(self.object)

    def get_context_data(self, **kwargs):
        # The stored set: after a validation error, the form's instance contains what was typed.
        shown = notices(
            draft_configuration(),
            self.request.user,
            key=str(self.object.key),
            is_held=self.is_held,
        )
        managed = managed_text(self.object)
        return super().get_context_data(**kwargs) | {"notices": shown, "managed": managed}


class DeleteView(LockedPost, NotManaged, snippets.DeleteView):
    """Delete a set. If it is live, it stays live until the next reload, and the page says so."""

    @property
    def confirmation_message(self):
        text = _("Delete the settings set “%s” with its password?") % self.object
        if self.object.secret_id is not None:
            text += " " + _("You can then no longer make earlier versions live that use it.")
        if Overview.now().is_carrying(self.object):
            text += " " + _("It is live: email is sent through it until you reload.")
        return text

    def get_usage_url(self):
        # Only the live version refers to a set, and the message above says so.
        return None

    def delete_action(self):
        super().delete_action()
        revoke(self.object.key)


@in_transaction
def move(pk, position):
    """Move a set to a position, or to the end if the position doesn't exist; return the set.

    Raises:
        ManagedOrder: the project's settings file decides otherwise.
    """
    DeliverySettings.lock()
    item = get_object_or_404(SettingsSet, pk=pk)
    before = list(SettingsSet.objects.order_by("sort_order", "pk"))
    after = [row for row in before if row.pk != item.pk]
    after.insert(position if 0 <= position <= len(after) else len(after), item)
    check_order(before, after)
    for number, row in enumerate(after):
        SettingsSet.objects.filter(pk=row.pk).update(sort_order=number)
    log(instance=item, action="wagtail_smtp.reorder")
    return item


class ReorderView(snippets.ReorderView):
    """Move one set and renumber all, because numbers may repeat or be missing."""

    def post(self, request, *args, **kwargs):
        try:
            position = int(self.request.GET.get("position", ""))
        except ValueError:
            position = -1
        try:
            move(unquote(str(kwargs["pk"])), position)
        except ManagedOrder as error:
            return JsonResponse({"success": False, "error": str(error)}, status=409)
        return JsonResponse({"success": True})


class PutFirstView(RequiresPermission, View):
    """Move a set to the first position, so that its redirect applies to all email."""

    permission_required = permissions.CHANGE_SETS

    def post(self, request, pk):
        try:
            item = move(pk, 0)
        except ManagedOrder as error:
            messages.error(request, str(error))
        else:
            text = _("“%s” is now first. Nothing changes until someone reloads the application.")
            messages.success(request, text % item, buttons=reload_buttons(request))
        back = get_valid_next_url_from_request(request) or reverse(SETS)
        return HttpResponseRedirect(back)


class OptionalColumn(Column):
    """A column that is empty for most sets; on a narrow screen, empty cells take no space."""

    cell_template_name = "wagtail_smtp/settings_sets/optional_cell.html"


class RedirectColumn(Column):
    """Whether the set redirects email, with a button that moves it first if that helps."""

    cell_template_name = "wagtail_smtp/settings_sets/redirect_cell.html"

    def get_cell_context_data(self, instance, parent_context):
        context = super().get_cell_context_data(instance, parent_context)
        may_change = context["request"].user.has_perm(permissions.CHANGE_SETS)
        if context["value"].first_would_help and may_change and may_be_first(instance):
            context["put_first_url"] = reverse(PUT_FIRST, args=[instance.pk])
            context["csrf_token"] = get_token(context["request"])
        return context


class IndexView(snippets.IndexView):
    """The sets in order, with what each is used for and which changes are not live yet."""

    default_ordering = "sort_order"
    table_classname = "listing wsmtp-cards"

    @cached_property
    def overview(self):
        return Overview.now()

    @cached_property
    def columns(self):
        # Without Wagtail's checkboxes: sets are deleted one by one.
        overview = self.overview
        is_any_managed = any(map(manager, SettingsSet.objects.exclude(managed_by="")))
        managed = [ManagedColumn()] if is_any_managed else []
        limits = [OptionalColumn("limits", label=_("Limits"), accessor=overview.limits)]
        limits = limits if overview.usage else []
        return [
            *(column for column in super().columns if column.name == "name"),
            StatusTagColumn("in_use", label=_("In use"), accessor=overview.in_use, primary=True,
                            classname="wsmtp-in-use"),
            *limits,
            OptionalColumn("changes", label=_("Changes"), accessor=overview.changes),
            RedirectColumn("redirect", label=_("Redirect"), accessor=overview.redirect),
            Column("transport", label=_("Send with"), accessor=sets_overview.transport),
            Column("host", label=_("Host"), accessor=sets_overview.host),
            Column("sender", label=_("Sender"), accessor=sets_overview.sender),
            *managed,
        ]  # fmt: skip

    def get_table(self, object_list):
        table = super().get_table(object_list)
        if "ordering" in table.columns:
            table.columns["ordering"] = ManagedOrderingColumn(
                "ordering", width="80px", sort_key=self.sort_order_field
            )
        return table

    def get_delete_url(self, instance):
        return None if manager(instance) else super().get_delete_url(instance)

    def get_list_more_buttons(self, instance):
        buttons = super().get_list_more_buttons(instance)
        for button in buttons:
            if manager(instance) and button.url == self.get_edit_url(instance):
                # The form is locked.
                button.label, button.icon_name = EditView.locked_title, "info-circle"
        # After Edit (10), before Copy (20) and Delete (30).
        return [*buttons, *self._check_buttons(instance)]

    def _check_buttons(self, instance):
        return check_buttons(instance, self.request, is_held=self.overview.is_held)

    @cached_property
    def header_buttons(self):
        buttons = list(super().header_buttons)
        if self.request.user.has_perm(permissions.RELOAD):
            url = reverse(RELOAD)
            buttons.append(HeaderButton(_("Reload application"), url=url, icon_name="rotate"))
        for button in buttons:
            button.classname += " wsmtp-short"
        return buttons

    def get_context_data(self, *args, **kwargs):
        overview, user = self.overview, self.request.user
        waiting = ngettext(
            "%d change is not live yet.", "%d changes are not live yet.", overview.waiting
        )
        saved = overview.plan.target if overview.plan else draft_configuration()
        empty = _("Email is sent by standard delivery (%s). Add a settings set to change that.")
        return super().get_context_data(*args, **kwargs) | {
            "notice": waiting % overview.waiting if overview.waiting else "",
            "notices": notices(saved, user, is_held=overview.is_held),
            "may_reload": user.has_perm(permissions.RELOAD),
            "deleted_but_live": overview.deleted_but_live,
            "refusal": overview.refusal,
            "tokens": token_notices(),
            "may_add": user.has_perm(permissions.ADD_SETS),
            "empty_text": empty % standard.description(),
        }


class SettingsSetViewSet(RequiresTables, snippets.SnippetViewSet):
    """Registers the snippet."""

    model = SettingsSet
    list_display = ["name"]
    icon = "mail"
    menu_label = gettext_lazy("SMTP settings")
    menu_name = "smtp-settings"
    menu_item_is_registered = True
    add_to_reference_index = False
    sort_order_field = "sort_order"
    search_fields = ["name", "host", "username", "sender_name", "sender_address"]
    index_view_class = IndexView
    add_view_class = AddView
    copy_view_class = CopyView
    edit_view_class = EditView
    delete_view_class = DeleteView
    reorder_view_class = ReorderView
    edit_handler = EDIT_HANDLER
    # Without the bulk actions of Wagtail's template for snippets.
    index_template_name = "wagtailadmin/generic/index.html"
    index_results_template_name = "wagtail_smtp/settings_sets/index_results.html"
    create_template_name = edit_template_name = "wagtail_smtp/settings_sets/form.html"

    def get_urlpatterns(self):
        """Add the tests and the button that moves a set first to Wagtail's URLs."""
        put_first = path("put-first/<int:pk>/", PutFirstView.as_view(), name="put_first")
        return [*super().get_urlpatterns(), *views.urlpatterns(self), put_first]

    def register_chooser_viewset(self):
        """Register none: nothing chooses a set, and a chooser's pages need no permission."""
