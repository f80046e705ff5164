"""Actions on log entries: resend a message, or try or cancel a waiting one."""

from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from wagtail.admin import messages
from wagtail.admin.views.bulk_action import BulkAction

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.delivery.failures import NOT_SENT
from wagtail_smtp.admin.log.entry import EntryPage
from wagtail_smtp.admin.log.filters import LogFilterSet, number
from wagtail_smtp.admin.log.message import log_action
from wagtail_smtp.live.db import connections
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.maintenance import resend
from wagtail_smtp.maintenance.bulk_resend import (
    REASONS,
    ResendFilter,
    ResendSummary,
    resend_several,
)
from wagtail_smtp.maintenance.resend import can_resend, family, first_of
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage
from wagtail_smtp.models.choices import PENDING, RecipientState, State
from wagtail_smtp.outbox.outcomes import cancel, try_now

#: Outcomes, the most important first, with their label at the original.
_OUTCOMES = (
    ({State.SENT}, gettext_lazy("Resent – sent")),
    ({State.PARTLY_SENT}, gettext_lazy("Resent – partly sent")),
    ({State.UNKNOWN}, gettext_lazy("Resent – unknown")),
    (PENDING, gettext_lazy("Resent – in the outbox")),
)
#: Resends listed on a page.
LISTED = 20


@dataclass(frozen=True)
class Resends:
    """The later resends of a message.

    ``best`` has the most important outcome, ``original`` is the message that this one repeats, and
    ``began`` is the time at which a resend without a known outcome began.
    """

    best: LogEntry | None = None
    newest_first: tuple[LogEntry, ...] = ()
    original: LogEntry | None = None
    began: datetime | None = None

    @property
    def label(self):
        """The label of the best resend."""
        return label(self.best.state) if self.best else ""

    @property
    def is_sent(self):
        return self.best is not None and self.best.state == State.SENT


def label(state):
    """Return the label of a resend in this state, shown at the original."""
    found = (text for states, text in _OUTCOMES if state in states)
    return str(next(found, _("Resent – not sent")))


def _rank(state):
    found = (place for place, (states, _text) in enumerate(_OUTCOMES) if state in states)
    return next(found, len(_OUTCOMES))


def of_entry(entry):
    """Return the :class:`Resends` of an entry."""
    later = family(entry).filter(pk__gt=entry.pk).order_by("-pk")
    listed = tuple(later[:LISTED])
    # With many resends, the one that was sent may not be among those listed.
    sent = later.filter(state=State.SENT).first()
    best = sent or min(listed, key=lambda each: _rank(each.state), default=None)
    original = None
    if entry.resend_of_id:
        rows = LogEntry.objects.using(write_alias())
        original = rows.filter(pk=entry.resend_of_id).first()
    return Resends(best, listed, original, entry.resend_began)


def already_sent_to(entry):
    """Return the addresses that this message, its original or a resend was sent to."""
    members = family(entry).values_list("pk", flat=True)
    rows = LogRecipient.objects.using(write_alias()).filter(entry__in=list(members))
    got = rows.filter(role=LogRecipient.Role.ENVELOPE, state=RecipientState.SENT)
    return set(got.values_list("address", flat=True))


def outcomes(entries):
    """Map the number of each unsent entry to number and state of its best resend."""
    unsent = [entry for entry in entries if entry.state in NOT_SENT]
    if not unsent:
        return {}
    copies = LogEntry.objects.filter(resend_of_id__in={first_of(entry) for entry in unsent})
    families = {}
    for key, first, state in copies.values_list("pk", "resend_of_id", "state"):
        families.setdefault(first, []).append((key, state))
    found = {}
    for entry in unsent:
        later = [each for each in families.get(first_of(entry), ()) if each[0] > entry.pk]
        if later:
            found[entry.pk] = min(later, key=lambda each: (_rank(each[1]), -each[0]))
    return found


#: Most entries that "select all" covers.
ALL = 50_000
#: Entries that a confirmation lists.
SHOWN = 25
#: Seconds for which one request sends; web servers may end longer requests.
SECONDS = 20.0


class ActionView(EntryPage):
    """Base view: asks for confirmation and acts on POST."""

    permission_required = (permissions.VIEW_LOG, permissions.RESEND)
    template_name = "wagtail_smtp/log/confirm.html"
    action = ""
    question = explanation = button = ""

    def get_queryset(self):
        return super().get_queryset().using(connections.write_alias())

    def is_possible(self):
        """Whether the action is possible in the entry's current state."""
        outbox = getattr(self.entry, "outbox", None)
        return outbox is not None and outbox.state != OutboxMessage.State.SENDING

    def dispatch(self, request, *args, **kwargs):
        if self.has_permission() and not self.is_possible():
            messages.error(request, _("You can no longer do this with this message."))
            return self.back()
        return super().dispatch(request, *args, **kwargs)

    def back(self, entry=None):
        """Redirect to the entry's page."""
        url = reverse("wagtail_smtp_log:entry", args=[(entry or self.entry).pk])
        return HttpResponseRedirect(url)

    def get_context_data(self, **kwargs):
        recipients = self.entry.recipients.using(connections.write_alias())
        recipients = recipients.filter(role=LogRecipient.Role.ENVELOPE)
        return super().get_context_data(**kwargs) | {
            "entry": self.entry,
            "recipients": recipients.order_by("pk")[:20],
            "more": max(0, recipients.count() - 20),
            "is_unknown": self.entry.state == State.UNKNOWN,
        }

    def post(self, request, *args, **kwargs):
        if self.act():
            log_action(self.entry, self.action)
            messages.success(request, self.done)
        else:
            messages.error(request, _("This message is already being sent or has been sent."))
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

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {
            "seen": resend.newest_resend(self.entry),
            "resends": of_entry(self.entry),
            "already_sent_to": already_sent_to(self.entry),
        }

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
        found = self.filters.search(self.request.GET.get("q", ""))
        return found.values_list("pk", flat=True)[:ALL]

    @property
    def unknown_too(self):
        """Whether to resend unknown messages: for "select all", only if filtered by that state."""
        return not self.is_all or self.request.GET.get("state") == State.UNKNOWN

    def get_context_data(self, **kwargs):
        kept, left_out, summary = [], [], ResendSummary()
        count = 0
        for entry, reason in ResendFilter(unknown_too=self.unknown_too).check(self.numbers):
            if reason:
                summary.left_out[reason] += 1
                if len(left_out) < SHOWN:
                    left_out.append((entry, REASONS[reason]))
            else:
                count += 1
                if len(kept) < SHOWN:
                    kept.append(entry)
        return {
            "form": self.get_form(),
            "view": self,
            "kept": kept,
            "count": count,
            "more": count - len(kept),
            "left_out": left_out,
            "left_out_count": summary.left_out.total(),
            "why_left_out": summary.why_left_out(),
            "cap": ALL,
            "is_capped": self.is_all and len(self.numbers) >= ALL,
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
            seconds=SECONDS,
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
