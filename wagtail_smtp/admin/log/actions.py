"""Actions on log entries: resend a message, or try or cancel a waiting one."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from wagtail.admin import messages
from wagtail.admin.utils import get_valid_next_url_from_request
from wagtail.admin.views.bulk_action import BulkAction

from wagtail_smtp import suppression
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import LOG, LOG_ENTRY
from wagtail_smtp.admin.log.entry import EntryPage
from wagtail_smtp.admin.log.filters import LogFilterSet
from wagtail_smtp.admin.log.message import log_action
from wagtail_smtp.admin.log.resends import Resends, already_sent_to
from wagtail_smtp.admin.paging import number
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.maintenance import resend
from wagtail_smtp.maintenance.resend import (
    REASONS,
    ResendFilter,
    ResendSummary,
    can_resend,
    resend_several,
)
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import State
from wagtail_smtp.outbox.outcomes import cancel, try_now

#: Most entries that "select all" covers.
MAX_SELECTED = 50_000
#: Entries that a confirmation lists.
LISTED = 25
#: Seconds for which one request sends; web servers may end longer requests.
MAX_SECONDS = 20.0


class ActionView(EntryPage):
    """Base view: asks for confirmation and acts on POST."""

    permission_required = (permissions.VIEW_LOG, permissions.RESEND)
    template_name = "wagtail_smtp/log/confirm.html"
    action = ""
    question: Any = ""
    explanation: Any = ""
    button: Any = ""
    done: Any = ""
    too_late: Any = gettext_lazy("This message is already being sent or has been sent.")

    def get_queryset(self):
        return super().get_queryset().using(write_alias())

    def is_possible(self):
        """Whether the action is possible in the entry's current state."""
        return self.can_change_outbox

    def impossible(self):
        """Say why the action is not possible."""
        return _("You can no longer do this with this message.")

    def dispatch(self, request, *args, **kwargs):
        if self.has_permission() and not self.is_possible():
            messages.error(request, self.impossible())
            return self.back()
        return super().dispatch(request, *args, **kwargs)

    def back(self, entry=None):
        """Redirect to the page that led here, or to the entry's page."""
        url = "" if entry else get_valid_next_url_from_request(self.request)
        return HttpResponseRedirect(url or reverse(LOG_ENTRY, args=[(entry or self.entry).pk]))

    def get_context_data(self, **kwargs):
        recipients = self.entry.recipients.using(write_alias())
        recipients = recipients.filter(role=LogRecipient.Role.ENVELOPE)
        return super().get_context_data(**kwargs) | {
            "entry": self.entry,
            "recipients": recipients.order_by("pk")[:20],
            "more": max(0, recipients.count() - 20),
            "is_unknown": self.entry.state == State.UNKNOWN,
            "back_url": self.back().url,
        }

    def post(self, request, *args, **kwargs):
        if self.act():
            log_action(self.entry, self.action)
            messages.success(request, self.done)
        else:
            messages.error(request, self.too_late)
        return self.back()


class TryNowView(ActionView):
    """Makes a waiting message due now."""

    action = "try_now"
    page_title = gettext_lazy("Try now")
    question = gettext_lazy("Try to send this message now?")
    explanation = gettext_lazy("It will be tried next, without waiting for its scheduled time.")
    button = gettext_lazy("Yes, try now")
    done = gettext_lazy("The message will be tried next.")

    def act(self):
        return try_now(self.entry)


class CancelView(ActionView):
    """Removes a message from the outbox."""

    action = "cancel"
    page_title = gettext_lazy("Cancel sending")
    question = gettext_lazy("Cancel this message?")
    explanation = gettext_lazy("It will not be sent, and no further attempts will be made.")
    button = gettext_lazy("Yes, cancel it")
    done = gettext_lazy("The message was cancelled.")

    def act(self):
        return cancel(self.entry)


class ResendView(ActionView):
    """Resends the message to its original recipients."""

    action = "resend"
    page_title = gettext_lazy("Resend")
    question = gettext_lazy("Resend this message?")
    explanation = gettext_lazy(
        "It will be sent to its original recipients with the live settings. If a redirect is on, "
        "it goes to the report emails instead."
    )
    button = gettext_lazy("Yes, resend it")

    def is_possible(self):
        return can_resend(self.entry)

    def dispatch(self, request, *args, **kwargs):
        if self.has_permission() and (why := resend.refusal()):
            messages.error(request, why)
            return self.back()
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {
            "seen": resend.newest_resend(self.entry),
            "resends": Resends.of(self.entry),
            "already_sent_to": already_sent_to(self.entry),
            "suppressed": self._suppressed(),
        }

    def _suppressed(self):
        """The recipients that don't get it, because they are on the suppression list."""
        if self.entry.category in suppression.NEVER:
            return {}
        recipients = self.entry.recipients.using(write_alias())
        return suppression.find(recipients.values_list("address", flat=True))

    def post(self, request, *args, **kwargs):
        # The outbox or delivery tracking may have changed its state in the meantime.
        known, shown = seen(request.POST), request.POST.get("state", "")
        if not resend.claim(self.entry, request.user, known, shown=shown):
            text = _("Not sent: the message changed after you opened this page.")
            if resend.newest_resend(self.entry) > known:
                text = _("Not sent: the message has already been resent.")
            messages.warning(request, text)
            return self.back()
        done = resend.send_claimed(self.entry)
        if done.problem:
            messages.error(request, _("The message was not sent: %s") % done.problem)
        else:
            messages.success(request, _("The message was resent."))
        return self.back(done.entry)


def seen(posted):
    """Return the newest resend that the posted confirmation knew of, or 0."""
    text = posted.get("seen", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


class ResendSelected(BulkAction):
    """Resends the entries selected in the listing, or all that match its filters."""

    display_name = gettext_lazy("Resend")
    aria_label = gettext_lazy("Resend selected messages")
    action_type = "resend"
    models = [LogEntry]
    template_name = "wagtail_smtp/log/confirm_resend_selected.html"

    def dispatch(self, request, *args, **kwargs):
        needed = (permissions.VIEW_LOG, permissions.RESEND)
        if not all(request.user.has_perm(each) for each in needed):
            raise PermissionDenied
        if why := resend.refusal():
            messages.error(request, why)
            return HttpResponseRedirect(get_valid_next_url_from_request(request) or reverse(LOG))
        return super().dispatch(request, *args, **kwargs)

    @cached_property
    def filters(self):
        return LogFilterSet(self.request.GET, request=self.request)

    @cached_property
    def is_all(self):
        return "all" in self.request.GET.getlist("id")

    @cached_property
    def numbers(self):
        """The numbers of the selected entries, oldest first."""
        chosen = self._all() if self.is_all else map(number, self.request.GET.getlist("id"))
        after = number(self.request.GET.get("after", "")) or 0
        return sorted({each for each in chosen if each is not None and each > after})

    def _all(self):
        if not self.filters.is_valid():
            return ()  # an invalid filter must not select everything
        found, _is_all = self.filters.search_all(self.request.GET.get("q", ""), MAX_SELECTED)
        return found

    @property
    def unknown_too(self):
        """Whether to resend unknown messages: for "select all", only if filtered by that state."""
        return not self.is_all or self.request.GET.get("state") == State.UNKNOWN

    def get_context_data(self, **kwargs):
        included: list[LogEntry] = []
        left_out: list[tuple[LogEntry, Any]] = []
        summary, count = ResendSummary(), 0
        for entry, reason in ResendFilter(unknown_too=self.unknown_too).check(self.numbers):
            if reason:
                summary.left_out[reason] += 1
                if len(left_out) < LISTED:
                    left_out.append((entry, REASONS[reason]))
            else:
                count += 1
                if len(included) < LISTED:
                    included.append(entry)
        return {
            "form": self.get_form(),
            "view": self,
            "included": included,
            "count": count,
            "more": count - len(included),
            "left_out": left_out,
            "left_out_count": summary.left_out.total(),
            "why_left_out": summary.why_left_out(),
            "cap": MAX_SELECTED,
            "is_capped": self.is_all and len(self.numbers) >= MAX_SELECTED,
            "seen": resend.newest_resend(),
            "next": self.next_url,
            "submit_url": f"{self.request.path}?{self.request.GET.urlencode()}",
        }

    def form_valid(self, form):
        summary = ResendSummary()
        resend_several(
            self.numbers,
            summary,
            user=self.request.user,
            seen=seen(self.request.POST),
            unknown_too=self.unknown_too,
            seconds=MAX_SECONDS,
        )
        self._show(summary)
        return HttpResponseRedirect(self.next_url)

    def _show(self, summary):
        request, sent = self.request, summary.resent.total()
        if sent:
            text = ngettext("%d message was resent.", "%d messages were resent.", sent)
            messages.success(request, text % sent)
        if summary.failed:
            text = ngettext(
                "%(count)d was not sent: %(problem)s",
                "%(count)d were not sent. The first: %(problem)s",
                summary.failed,
            )
            values = {"count": summary.failed, "problem": summary.problem}
            messages.error(request, text % values)
        if summary.left_out:
            reasons = ", ".join(
                _("%(reason)s (%(count)d)") % {"reason": reason, "count": count}
                for count, reason in summary.why_left_out()
            )
            messages.warning(request, _("Left out: %s.") % reasons)
        if summary.stopped_at is not None:
            rest = sum(1 for each in self.numbers if each > summary.stopped_at)
            query = self.request.GET.copy()
            query["after"] = summary.stopped_at
            text = ngettext(
                "%d message is left. Resending them all takes too long for one request.",
                "%d messages are left. Resending them all takes too long for one request.",
                rest,
            )
            again = messages.button(f"{request.path}?{query.urlencode()}", _("Resend the rest"))
            messages.warning(request, text % rest, buttons=[again])
