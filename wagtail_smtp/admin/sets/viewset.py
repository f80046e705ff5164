"""The *SMTP settings* snippet: listing, form, order."""

from django.contrib.admin.utils import unquote
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
from wagtail.admin.panels import FieldPanel, FieldRowPanel, InlinePanel, MultiFieldPanel, ObjectList
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
from wagtail_smtp.admin.notify_user_chooser import NotifyUserViewSet
from wagtail_smtp.admin.sets import overview as sets_overview
from wagtail_smtp.admin.sets.consent import token_notices
from wagtail_smtp.admin.sets.esp_form import ESP_PANEL, FOR, FOR_SMTP, SELF_HOSTED, SMTP
from wagtail_smtp.admin.sets.form import SECRET_FIELDS, SettingsSetForm
from wagtail_smtp.admin.sets.oauth_form import LOGIN, OAUTH_PANEL
from wagtail_smtp.admin.sets.overview import Overview, notices
from wagtail_smtp.admin.sets.webhook import TrackingPanel
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
        return super().get_context_data(parent_context) | {
            "set_status": overview.in_use(stored),
            "set_changes": overview.changes(stored),
        }


class LockedPost(WagtailView):
    """View mixin: each change is checked against the result of the one before."""

    @in_transaction
    def post(self, request, *args, **kwargs):
        DeliverySettings.lock()
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
            "“%(name)s” saved. It is not live yet: email is still sent with the previous settings."
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

    def get_initial_form_instance(self):
        original = self.get_object()
        copied = SettingsSet()
        copied.thaw(original.frozen(original.report_emails.all()))
        copied.name, copied.enabled = free_name(original.name), False
        copied.secret_id = copied.webhook_secret_id = None
        return copied


class EditView(SetFormView, snippets.EditView):
    """Edit a set."""

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

    def get_context_data(self, **kwargs):
        # The stored set: after a validation error, the form's instance contains what was typed.
        shown = notices(draft_configuration(), self.request.user, key=str(self.object.key))
        return super().get_context_data(**kwargs) | {"notices": shown}


class DeleteView(LockedPost, snippets.DeleteView):
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
    """Move a set to a position, or to the end if the position doesn't exist; return the set."""
    DeliverySettings.lock()
    item = get_object_or_404(SettingsSet, pk=pk)
    others = list(SettingsSet.objects.exclude(pk=item.pk).order_by("sort_order", "pk"))
    others.insert(position if 0 <= position <= len(others) else len(others), item)
    for number, row in enumerate(others):
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
        move(unquote(str(kwargs["pk"])), position)
        return JsonResponse({"success": True})


class PutFirstView(RequiresPermission, View):
    """Move a set to the first position, so that its redirect applies to all email."""

    permission_required = permissions.CHANGE_SETS

    def post(self, request, pk):
        item = move(pk, 0)
        text = _("“%s” is now first. This is not live yet: email is still sent as before.") % item
        messages.success(request, text, buttons=reload_buttons(request))
        back = get_valid_next_url_from_request(request) or reverse(SETS)
        return HttpResponseRedirect(back)


class RedirectColumn(Column):
    """Whether the set redirects email, with a button that moves it first if that helps."""

    cell_template_name = "wagtail_smtp/settings_sets/redirect_cell.html"

    def get_cell_context_data(self, instance, parent_context):
        context = super().get_cell_context_data(instance, parent_context)
        user = context["request"].user
        if context["value"].first_would_help and user.has_perm(permissions.CHANGE_SETS):
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
        return [
            *(column for column in super().columns if column.name == "name"),
            StatusTagColumn("in_use", label=_("In use"), accessor=overview.in_use, primary=True),
            Column("changes", label=_("Changes"), accessor=overview.changes),
            RedirectColumn("redirect", label=_("Redirect"), accessor=overview.redirect),
            Column("transport", label=_("Send with"), accessor=sets_overview.transport),
            Column("host", label=_("Host"), accessor=sets_overview.host),
            Column("sender", label=_("Sender"), accessor=sets_overview.sender),
        ]

    def get_list_more_buttons(self, instance):
        # After Edit (10), before Copy (20) and Delete (30).
        return [*super().get_list_more_buttons(instance), *check_buttons(instance, self.request)]

    @cached_property
    def header_buttons(self):
        buttons = list(super().header_buttons)
        if self.request.user.has_perm(permissions.RELOAD):
            url = reverse(RELOAD)
            buttons.append(HeaderButton(_("Reload application"), url=url, icon_name="rotate"))
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
            "notices": notices(saved, user),
            "may_reload": user.has_perm(permissions.RELOAD),
            "deleted_but_live": overview.deleted_but_live,
            "refusal": overview.refusal,
            "tokens": token_notices(),
            "may_add": user.has_perm(permissions.ADD_SETS),
            "empty_text": empty % standard.description(),
        }


class RequiredPanel(FieldPanel):
    """Mark a field as required, although the form doesn't require it while it is hidden."""

    class BoundPanel(FieldPanel.BoundPanel):
        def is_required(self):
            return True


REDIRECT_HELP = gettext_lazy(
    "For testing: email goes to the report emails instead of its real recipients. The first set of "
    "the list redirects all email; a set further down redirects only what is sent through it. "
    "Links in the messages still work."
)
EDIT_HANDLER = ObjectList(
    [
        FieldPanel("name"),
        FieldPanel("enabled"),
        MultiFieldPanel(
            [
                FieldPanel("transport"),
                FieldPanel("preset", attrs=FOR_SMTP),
                RequiredPanel("host", attrs=FOR_SMTP),
                FieldRowPanel(
                    [
                        FieldPanel("port", attrs=FOR_SMTP),
                        FieldPanel("encryption", attrs=FOR_SMTP),
                        FieldPanel("timeout"),
                    ]
                ),
            ],
            heading=gettext_lazy("Server"),
        ),
        ESP_PANEL,
        MultiFieldPanel(
            [
                FieldPanel("authentication"),
                RequiredPanel("username", attrs={LOGIN: "password default oauth2"}),
                FieldPanel("password", attrs={LOGIN: "password default"}),
                FieldPanel("remove_password"),
            ],
            heading=gettext_lazy("Credentials"),
            attrs=FOR_SMTP,
        ),
        OAUTH_PANEL,
        MultiFieldPanel(
            [
                FieldPanel("sender_name"),
                FieldPanel("sender_address"),
                FieldPanel("always_use_sender"),
            ],
            heading=gettext_lazy("Sender"),
        ),
        MultiFieldPanel(
            [
                FieldPanel("redirect", help_text=REDIRECT_HELP),
                InlinePanel("report_emails", label=gettext_lazy("Report email")),
            ],
            heading=gettext_lazy("Redirection"),
        ),
        MultiFieldPanel(
            [FieldPanel("categories"), FieldPanel("backup")],
            heading=gettext_lazy("Routing"),
        ),
        MultiFieldPanel(
            [
                FieldPanel("ca_certificates", attrs={FOR: " ".join((SMTP, *SELF_HOSTED))}),
                FieldPanel("ehlo_name", attrs=FOR_SMTP),
                FieldPanel("ignored_extensions", attrs=FOR_SMTP),
                FieldPanel("bounce_address", attrs=FOR_SMTP),
                FieldPanel("max_size"),
                FieldPanel("notify_user", widget=NotifyUserViewSet().widget_class),
            ],
            heading=gettext_lazy("More settings"),
            classname="collapsed",
        ),
        TrackingPanel(
            heading=gettext_lazy("Delivery tracking"),
            help_text=gettext_lazy(
                "The email provider can tell this site whether a message was delivered or bounced. "
                "The delivery log shows it on the message's entry."
            ),
        ),
    ],
    base_form_class=SettingsSetForm,
    attrs={"data-controller": "wsmtp-set-form"},
)


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
