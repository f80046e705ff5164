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
from wagtail_smtp.admin.base import requires_tables
from wagtail_smtp.admin.connection_check import views
from wagtail_smtp.admin.connection_check.views import OffersTests, check_buttons
from wagtail_smtp.admin.notify_user_chooser import NotifyUserViewSet
from wagtail_smtp.admin.sets import notices
from wagtail_smtp.admin.sets import overview as sets_overview
from wagtail_smtp.admin.sets.consent import token_notices
from wagtail_smtp.admin.sets.esp_form import ESP_PANEL, FOR, FOR_SMTP, SELF_HOSTED, SMTP
from wagtail_smtp.admin.sets.form import SECRET_FIELDS, SettingsSetForm
from wagtail_smtp.admin.sets.oauth_form import OAUTH_PANEL
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.admin.sets.webhook import ReportsPanel
from wagtail_smtp.live import draft_configuration
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.live.publish import free_name, revoke
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.transports import standard


class NoBulkDelete(SnippetBulkAction):
    """Replaces Wagtail's action, which would show the names of sets to every user."""

    display_name = aria_label = ""
    action_type = "delete"
    models = [SettingsSet]

    def dispatch(self, *args, **kwargs):
        raise Http404


RELOAD_URL = "wagtail_smtp_reload:index"
URLS = "wagtailsnippets_wagtail_smtp_settingsset"


class StatusPanel(SnippetStatusSidePanel):
    """What the set does in the live version; Wagtail calls every snippet without drafts "Live"."""

    def get_status_templates(self, context):
        return ["wagtail_smtp/settings_sets/status.html"]

    def get_context_data(self, parent_context):
        overview = Overview.now()
        stored = SettingsSet.objects.get(pk=self.object.pk)
        return super().get_context_data(parent_context) | {
            "set_status": overview.in_use(stored),
            "set_changes": overview.changes(stored),
        }


class LockedPost:
    """Run changes one after the other, so that each is checked against the stored state."""

    @in_transaction
    def post(self, request, *args, **kwargs):
        DeliverySettings.lock()
        return super().post(request, *args, **kwargs)


class NotInUseYet:
    """After a save, say that the change is not live yet, and how to apply it."""

    def get_success_message(self, instance=None):
        item = instance or self.object
        text = _(
            "“%(name)s” saved. It is not live yet: email is still sent with the previous settings."
        ) % {"name": item}
        if not self.request.user.has_perm(permissions.RELOAD):
            names = permissions.names_of_those_who_may(permissions.RELOAD)
            if names:
                text += " " + _("To make it live, ask %s.") % ", ".join(names)
        return text

    def get_success_buttons(self):
        if self.request.user.has_perm(permissions.RELOAD):
            return [messages.button(reverse(RELOAD_URL), _("Review and reload"))]
        return []

    def save_instance(self):
        creating = self.form.instance.pk is None
        if creating:
            last = SettingsSet.objects.order_by("-sort_order").first()
            self.form.instance.sort_order = (last.sort_order or 0) + 1 if last else 0
        labels = [] if creating else self.form.changed_labels()
        item = self.form.save()
        self.has_content_changes = True
        log(
            instance=item,
            action="wagtail.create" if creating else "wagtail.edit",
            content_changed=True,
            data={"revision": item.revision, "fields": labels},
        )
        return item


@method_decorator(sensitive_post_parameters(*SECRET_FIELDS), name="dispatch")
class AddView(LockedPost, NotInUseYet, OffersTests, snippets.CreateView):
    """A new set."""

    def get_side_panels(self):
        return MediaContainer([])


@method_decorator(sensitive_post_parameters(*SECRET_FIELDS), name="dispatch")
class CopyView(LockedPost, NotInUseYet, OffersTests, snippets.CopyView):
    """A new set with another's values, except its password and name."""

    def get_side_panels(self):
        return MediaContainer([])

    def get_initial_form_instance(self):
        original = self.get_object()
        copied = SettingsSet(name=free_name(original.name))
        name = copied.name
        copied.thaw(original.frozen(original.report_emails.all()))
        copied.name, copied.enabled = name, False
        copied.secret_id = copied.webhook_secret_id = None
        return copied


@method_decorator(sensitive_post_parameters(*SECRET_FIELDS), name="dispatch")
class EditView(LockedPost, NotInUseYet, OffersTests, snippets.EditView):
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
        context = super().get_context_data(**kwargs)
        # As it is stored: after a mistake the form's instance holds what was typed.
        key = str(self.object.key)
        return context | {
            "notices": notices.shown(draft_configuration(), self.request.user, key=key)
        }


class DeleteView(LockedPost, snippets.DeleteView):
    """Delete a set; what is live stays live until the next reload, and the page says so."""

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
    """Move a set to this position, or to the end if there is no such position; return it."""
    DeliverySettings.lock()
    item = get_object_or_404(SettingsSet, pk=pk)
    others = list(SettingsSet.objects.exclude(pk=item.pk).order_by("sort_order", "pk"))
    others.insert(position if 0 <= position <= len(others) else len(others), item)
    for number, row in enumerate(others):
        SettingsSet.objects.filter(pk=row.pk).update(sort_order=number)
    log(instance=item, action="wagtail_smtp.reorder")
    return item


class ReorderView(snippets.ReorderView):
    """Move one set and renumber all, since numbers may repeat or be missing."""

    def post(self, request, *args, **kwargs):
        try:
            position = int(self.request.GET.get("position", ""))
        except ValueError:
            position = -1
        move(unquote(str(kwargs["pk"])), position)
        return JsonResponse({"success": True})


class PutFirstView(permissions.RequirePermission, View):
    """Move a set to the first position, so that its redirect applies to all email."""

    permission = permissions.CHANGE_SETS

    def post(self, request, pk):
        item = move(pk, 0)
        buttons = []
        if request.user.has_perm(permissions.RELOAD):
            buttons = [messages.button(reverse(RELOAD_URL), _("Review and reload"))]
        text = _("“%s” is now first. This is not live yet: email is still sent as before.") % item
        messages.success(request, text, buttons=buttons)
        back = get_valid_next_url_from_request(request) or reverse(f"{URLS}:list")
        return HttpResponseRedirect(back)


class RedirectColumn(Column):
    """Whether the set redirects email, with a button that moves it first if that helps."""

    cell_template_name = "wagtail_smtp/settings_sets/redirect_cell.html"

    def get_cell_context_data(self, instance, parent_context):
        context = super().get_cell_context_data(instance, parent_context)
        user = context["request"].user
        if context["value"].first_would_help and user.has_perm(permissions.CHANGE_SETS):
            context["put_first_url"] = reverse(f"{URLS}:put_first", args=[instance.pk])
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
        # No checkbox column: sets are deleted one by one.
        overview = self.overview
        return [
            self._get_title_column("name"),
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
            buttons.append(
                HeaderButton(_("Reload application"), url=reverse(RELOAD_URL), icon_name="rotate")
            )
        return buttons

    def get_context_data(self, *args, **kwargs):
        context = super().get_context_data(*args, **kwargs)
        overview = self.overview
        waiting = overview.waiting
        context["notice"] = (
            ngettext("%d change is not live yet.", "%d changes are not live yet.", waiting)
            % waiting
            if waiting
            else ""
        )
        saved = overview.plan.target if overview.plan else draft_configuration()
        context["notices"] = notices.shown(saved, self.request.user)
        context["may_reload"] = self.request.user.has_perm(permissions.RELOAD)
        context["deleted_but_live"] = overview.deleted_but_live
        context["refusal"] = overview.refusal
        context["tokens"] = token_notices()
        context["may_add"] = self.request.user.has_perm(permissions.ADD_SETS)
        context["empty_text"] = (
            _("Email is sent by standard delivery (%s). Add a settings set to change that.")
            % standard.description()
        )
        return context


class NeededPanel(FieldPanel):
    """A field that is required wherever it is shown; another choice in the form may hide it."""

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
                NeededPanel("host", attrs=FOR_SMTP),
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
                NeededPanel("username"),
                FieldPanel("password"),
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
        ReportsPanel(
            heading=gettext_lazy("Delivery tracking"),
            help_text=gettext_lazy(
                "The email provider can tell this site whether a message was delivered or bounced. "
                "The delivery log shows it on the message's entry."
            ),
        ),
    ],
    base_form_class=SettingsSetForm,
    attrs={"data-controller": "wsmtp-set-form wsmtp-provider-form"},
)


@requires_tables
class SettingsSetViewSet(snippets.SnippetViewSet):
    """Registers the snippet."""

    model = SettingsSet
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
    index_template_name = "wagtail_smtp/settings_sets/index.html"
    index_results_template_name = "wagtail_smtp/settings_sets/index_results.html"
    create_template_name = edit_template_name = "wagtail_smtp/settings_sets/form.html"

    def get_urlpatterns(self):
        """Add the tests and the button that moves a set first to Wagtail's URLs."""
        put_first = path("put-first/<int:pk>/", PutFirstView.as_view(), name="put_first")
        return [*super().get_urlpatterns(), *views.urlpatterns(self), put_first]

    def register_chooser_viewset(self):
        """Register none: nothing chooses a set, and a chooser's pages need no permission."""
