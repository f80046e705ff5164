"""What can be done with an entry: send it again, or hurry or cancel what waits."""

import logging

from django.core.exceptions import PermissionDenied
from django.db.models import Max
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from wagtail.admin import messages
from wagtail.admin.views.bulk_action import BulkAction

from wagtail_smtp.admin import log_once, permissions
from wagtail_smtp.admin.log_content import log_look
from wagtail_smtp.admin.log_entry import LogObject
from wagtail_smtp.admin.log_list import PER_PAGE
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live import database
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage
from wagtail_smtp.outbox.manage import cancel, try_now
from wagtail_smtp.resend import can_resend, resend
from wagtail_smtp.states import State

logger = logging.getLogger(__name__)

#: Messages resent at a time.
AT_A_TIME = PER_PAGE


class ActionView(LogObject):
    """A page that asks, and does it when it is posted."""

    permission = permissions.RESEND
    template_name = "wagtail_smtp/log/confirm.html"
    action = ""
    question = explanation = button = ""

    def get_queryset(self):
        return super().get_queryset().using(database.write_alias())

    def is_possible(self):
        """Whether it can be done as things stand."""
        outbox = getattr(self.entry, "outbox", None)
        return outbox is not None and outbox.state != OutboxMessage.State.SENDING

    def dispatch(self, request, *args, **kwargs):
        may = request.user.has_perm
        if may(permissions.VIEW_LOG) and may(self.permission) and not self.is_possible():
            messages.error(request, _("That is not possible with this message any more."))
            return self.back()
        return super().dispatch(request, *args, **kwargs)

    def back(self, entry=None):
        """To the page of the entry."""
        url = reverse("wagtail_smtp_log:entry", args=[(entry or self.entry).pk])
        return HttpResponseRedirect(url)

    def get_context_data(self, **kwargs):
        recipients = self.entry.recipients.using(database.write_alias())
        recipients = recipients.filter(role=LogRecipient.Role.ENVELOPE)
        return super().get_context_data(**kwargs) | {
            "entry": self.entry,
            "recipients": recipients.order_by("pk")[:20],
            "more": max(0, recipients.count() - 20),
            "is_unknown": self.entry.state == State.UNKNOWN,
        }

    def post(self, request, *args, **kwargs):
        if self.act():
            log_look(self.entry, self.action)
            messages.success(request, self.done)
        else:
            messages.error(request, _("The message is on its way or through already."))
        return self.back()


class TryNowView(ActionView):
    """Make a waiting message due."""

    action = "try_now"
    page_title = gettext_lazy("Try now")
    question = gettext_lazy("Try to send this message now?")
    explanation = gettext_lazy("The outbox takes it next, instead of waiting until it is due.")
    button = gettext_lazy("Yes, try now")
    done = gettext_lazy("The message is due now.")

    def act(self):
        return try_now(self.entry)


class CancelView(ActionView):
    """Take a message out of the outbox."""

    action = "cancel"
    page_title = gettext_lazy("Cancel sending")
    question = gettext_lazy("Cancel this message?")
    explanation = gettext_lazy("It is not sent, and not tried again.")
    button = gettext_lazy("Yes, cancel it")
    done = gettext_lazy("The message was cancelled.")

    def act(self):
        return cancel(self.entry)


class ResendView(ActionView):
    """Send the message again, to those it was meant for."""

    action = "resend"
    page_title = gettext_lazy("Resend")
    question = gettext_lazy("Send this message again?")
    explanation = gettext_lazy(
        "It goes to the recipients it was meant for, by the settings in use now. A redirect that "
        "is in force holds."
    )
    button = gettext_lazy("Yes, send it again")

    def is_possible(self):
        return can_resend(self.entry)

    def get_context_data(self, **kwargs):
        seen = log_once.newest_resend([self.entry])
        return super().get_context_data(**kwargs) | {"seen": seen}

    def post(self, request, *args, **kwargs):
        if not log_once.claim(self.entry, request.user, log_once.seen(request.POST)):
            messages.warning(request, _("Not sent: the message was sent again already."))
            return self.back()
        again, problem = send_again(self.entry)
        if problem:
            messages.error(request, _("The message was not sent: %s") % problem)
        else:
            messages.success(request, _("The message was sent again."))
        return self.back(again)


def send_again(entry):
    """The new entry, None if there is none, and what went wrong, in words."""
    repeats = LogEntry.objects.using(database.write_alias()).filter(resend_of=entry.pk)
    before = repeats.aggregate(last=Max("pk"))["last"] or 0
    try:
        again = resend(entry)
    except EmailDeliveryError as error:
        words, kind = str(error), type(error).__name__
    except Exception as error:  # a project's own backend raises what it likes
        logger.exception("Entry %s could not be sent again.", entry.pk)
        # Its words may hold what the server echoed, a password for one.
        words, kind = "", type(error).__name__
    else:
        if again is not None and again.state == State.TOO_LARGE:
            return again, again.reason
        return again, ""
    again = repeats.filter(pk__gt=before).order_by("-pk").first()
    return again, words or (again and again.reason) or kind


class ResendSelected(BulkAction):
    """Resend what is selected in the listing."""

    display_name = gettext_lazy("Resend")
    aria_label = gettext_lazy("Resend selected messages")
    action_type = "resend"
    models = [LogEntry]
    template_name = "wagtail_smtp/log/confirm_resend_selected.html"

    def dispatch(self, request, *args, **kwargs):
        needed = (permissions.VIEW_LOG, permissions.RESEND)
        if not all(request.user.has_perm(each) for each in needed):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    @classmethod
    def get_queryset(cls, model, object_ids):
        keys = [key for key in map(str, object_ids) if key.isascii() and key.isdigit()]
        rows = LogEntry.objects.using(database.write_alias())
        rows = rows.select_related("stored").defer("stored__content")
        small = [int(key) for key in keys if len(key) < 19]
        return rows.filter(pk__in=small[:AT_A_TIME]).order_by("pk")

    def get_all_objects_in_listing_query(self, parent_id):
        return []  # never all the log at once

    def check_perm(self, obj):
        return can_resend(obj)

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        entries = [each["item"] for each in context["items"]]
        return context | {"seen": log_once.newest_resend(entries)}

    def prepare_action(self, objects, objects_without_access):
        # Here rather than in execute_action(), which runs in a transaction: what has left can't
        # be rolled back.
        seen, user = log_once.seen(self.request.POST), self.request.user
        problems = [send_again(entry)[1] for entry in objects if log_once.claim(entry, user, seen)]
        self._tell([each for each in problems if each], len(problems), len(objects))
        return HttpResponseRedirect(self.next_url)

    def _tell(self, failed, tried, asked):
        sent, behind = tried - len(failed), asked - tried
        if sent:
            text = ngettext("%d message was sent again.", "%d messages were sent again.", sent)
            messages.success(self.request, text % sent)
        if failed:
            text = ngettext("%d was not sent: %s", "%d were not sent, the first: %s", len(failed))
            messages.error(self.request, text % (len(failed), failed[0]))
        if behind:
            text = ngettext(
                "%d not sent: it was sent again already.",
                "%d not sent: they were sent again already.",
                behind,
            )
            messages.warning(self.request, text % behind)
