"""*Held messages*: those that came with a copied database, to release or delete."""

from typing import Any

from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.admin.paginator import WagtailPaginator
from wagtail.admin.ui.tables import ButtonsColumnMixin, Column, DateColumn, TitleColumn
from wagtail.admin.views import generic
from wagtail.admin.widgets.button import ListingButton
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import HELD, LOG, LOG_ENTRY, AdminPage, environment_problem
from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.admin.log.actions import MAX_SECONDS, ActionView
from wagtail_smtp.admin.log.listing import add_recipients, recipients, subject
from wagtail_smtp.delivery.explain.redirects import active_redirect
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current, environments
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import DeliverySettings, LogEntry
from wagtail_smtp.outbox import held


def destination():
    """Say where released messages would go now; empty if that can't be told."""
    try:
        live = current()
    except ConfigurationUnavailable:
        return ""
    if environments.is_holding(live.held_from):
        return _("Released messages are sent once someone reloads the application here.")
    redirect = active_redirect(live.configuration)
    if redirect is None:
        return _(
            "Released messages are sent to their real recipients, who may have received them "
            "already."
        )
    if redirect.is_all:
        return _("All email is redirected, so released messages go to the report emails.")
    return _(
        "Only some email is redirected. Other released messages are sent to their real "
        "recipients, who may have received them already."
    )


class SubjectColumn(ButtonsColumnMixin, TitleColumn):
    """The subject, which links to the entry, with a button for each action."""

    def get_buttons(self, instance, parent_context):
        buttons = [_button(instance, "delete", _("Delete"), 2)]
        if held.may_be_released(instance.outbox):
            buttons.append(_button(instance, "release", _("Release"), 1))
        return buttons


def _button(entry, name, label, priority):
    url = reverse(f"wagtail_smtp_log:{name}", args=[entry.pk])
    query = urlencode({"next": reverse(HELD)})
    # Screen readers list buttons without their rows.
    attrs = {"aria-label": _("%(action)s: %(name)s") % {"action": label, "name": entry}}
    return ListingButton(label, url=f"{url}?{query}", attrs=attrs, priority=priority)


class HeldPaginator(WagtailPaginator):
    """Counts messages; the listing's model is the log's."""

    @cached_property
    def items_count_label(self):
        return ngettext("%d held message", "%d held messages", self.count) % self.count


class KnowsEnvironment(AdminPage):
    """View mixin: without a valid name of this environment, no one knows what is held."""

    def dispatch(self, request, *args, **kwargs):
        if self.has_permission() and (problem := environment_problem()):
            messages.error(request, problem)
            return HttpResponseRedirect(reverse(LOG))
        return super().dispatch(request, *args, **kwargs)


class HeldView(KnowsEnvironment, generic.BaseListingView):
    """The held messages, the oldest first."""

    model = LogEntry
    permission_required = (permissions.VIEW_LOG, permissions.RESEND)
    template_name = "wagtail_smtp/log/held.html"
    page_title = gettext_lazy("Held messages")
    header_icon = "list-ul"
    index_url_name = HELD
    index_results_url_name = "wagtail_smtp_log:held_results"
    table_classname = "listing wsmtp-cards"
    paginator_class = HeldPaginator
    paginate_by = 25
    no_results_message = gettext_lazy("No messages are held.")

    def get_parents(self):
        return [(_("Delivery log"), reverse(LOG))]

    def get_base_queryset(self):
        entries = LogEntry.objects.using(write_alias()).select_related("outbox").order_by("pk")
        return entries.filter(pk__in=held.rows().values("entry_id"))

    @cached_property
    def columns(self):
        return [
            SubjectColumn("subject", accessor=subject, label=_("Subject"), url_name=LOG_ENTRY),
            Column("recipients", accessor=recipients, label=_("Recipients")),
            Column("category", label=_("Category"),
                   accessor=lambda entry: category_label(entry.category)),
            Column("environment", label=_("Queued in"),
                   accessor=lambda entry: entry.outbox.environment or environments.PRODUCTION),
            DateColumn("created_at", label=_("Queued"), classname="w-whitespace-nowrap"),
        ]  # fmt: skip

    def get_context_data(self, *args, **kwargs):
        context = super().get_context_data(*args, **kwargs)
        add_recipients(context["object_list"])
        return context | {
            "where": destination(),
            "may_release": held.can_be_released().exists(),
        }


class AllHeldView(KnowsEnvironment, TemplateView):
    """Base view: asks for confirmation, and changes all held messages on POST."""

    permission_required = (permissions.VIEW_LOG, permissions.RESEND)
    template_name = "wagtail_smtp/log/confirm_held.html"
    header_icon = "list-ul"
    action = ""
    rest: Any = ""

    def get_parents(self):
        return [(_("Delivery log"), reverse(LOG)), (_("Held messages"), reverse(HELD))]

    def wanted(self):
        """The messages to change."""
        raise NotImplementedError

    def act(self):
        """Change them for a limited time, and return how many were changed."""
        raise NotImplementedError

    def texts(self, number):
        """The question, and the message afterwards, about that number of messages."""
        raise NotImplementedError

    @cached_property
    def number(self):
        return self.wanted().count()

    def dispatch(self, request, *args, **kwargs):
        if self.has_permission() and not environment_problem() and not self.number:
            messages.error(request, _("These messages no longer exist."))
            return HttpResponseRedirect(reverse(HELD))
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {
            "number": self.number,
            "question": self.texts(self.number)[0],
            "back_url": reverse(HELD),
        }

    def post(self, request, *args, **kwargs):
        done = self.act()
        if done:
            log(
                instance=DeliverySettings.load(),
                action=f"wagtail_smtp.{self.action}_held",
                data={"number": done},
            )
            messages.success(request, self.texts(done)[1])
        if left := self.wanted().count():
            text = ngettext(
                "%d message is left. Changing them all takes too long for one request.",
                "%d messages are left. Changing them all takes too long for one request.",
                left,
            )
            again = messages.button(request.path, self.rest)
            messages.warning(request, text % left, buttons=[again])
        return HttpResponseRedirect(reverse(HELD))


class ReleaseAllView(AllHeldView):
    """Lets this environment send all held messages, except security messages."""

    action = "release"
    page_title = gettext_lazy("Release all")
    button = gettext_lazy("Yes, release them")
    rest = gettext_lazy("Release the rest")

    def wanted(self):
        return held.can_be_released()

    def act(self):
        return held.release_all(MAX_SECONDS)

    def texts(self, number):
        question = ngettext("Release %d held message?", "Release %d held messages?", number)
        done = ngettext("%d message was released.", "%d messages were released.", number)
        return question % number, done % number

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {
            "explanation": destination(),
            "security": held.rows().count() - self.number,
        }


class DeleteAllView(AllHeldView):
    """Deletes all held messages."""

    action = "delete"
    page_title = gettext_lazy("Delete all")
    button = gettext_lazy("Yes, delete them")
    rest = gettext_lazy("Delete the rest")

    def wanted(self):
        return held.rows()

    def act(self):
        return held.delete_all(MAX_SECONDS)

    def texts(self, number):
        question = ngettext("Delete %d held message?", "Delete %d held messages?", number)
        done = ngettext("%d message was deleted.", "%d messages were deleted.", number)
        return question % number, done % number

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"explanation": EXPLANATION}


EXPLANATION = gettext_lazy(
    "Deleted messages are not sent from here. The delivery log keeps an entry of each, in the "
    "state Cancelled."
)


NO_RELEASE = gettext_lazy(
    "Security messages can't be released, because their links belong to the other site."
)


class HeldActionView(ActionView):
    """Base view of the actions on one held message."""

    too_late = gettext_lazy("This message is no longer held.")

    def is_possible(self):
        return self.is_held


class ReleaseView(HeldActionView):
    """Lets this environment send a held message."""

    action = "release"
    page_title = gettext_lazy("Release")
    question = gettext_lazy("Release this message?")
    button = gettext_lazy("Yes, release it")
    done = gettext_lazy("The message was released.")

    def is_possible(self):
        return super().is_possible() and held.may_be_released(self.entry.outbox)

    def impossible(self):
        return NO_RELEASE if super().is_possible() else super().impossible()

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"where": destination()}

    def act(self):
        return held.release(self.entry)


class DeleteView(HeldActionView):
    """Deletes a held message."""

    action = "delete"
    page_title = gettext_lazy("Delete")
    question = gettext_lazy("Delete this message?")
    explanation = EXPLANATION
    button = gettext_lazy("Yes, delete it")
    done = gettext_lazy("The message was deleted.")

    def act(self):
        return held.delete(self.entry)
