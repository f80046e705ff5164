"""The page of one log entry: what happened to a message, and why."""

from django.shortcuts import get_object_or_404
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin.ui.tables import Column, DateColumn, StatusTagColumn, Table
from wagtail.admin.widgets.button import HeaderButton

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import EDIT_SET, LOG, LOG_ENTRY, VERSIONS, AdminPage
from wagtail_smtp.admin.delivery.failures import NOT_SENT, Failure
from wagtail_smtp.admin.labels import category_label, via_label
from wagtail_smtp.admin.log import actions, states
from wagtail_smtp.admin.log.message import KeptMessage
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.diagnostics.explain import cause_of
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.maintenance.resend import can_resend
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage, SettingsSet, StoredMessage
from wagtail_smtp.models.choices import State

#: Recipients, and tracking events, that the page lists.
LISTED = 200

RECIPIENT_COLUMN = StatusTagColumn(
    "reported",
    accessor="get_reported_display",
    label=gettext_lazy("Tracking"),
    primary=lambda row: row.reported in states.TRACKED_WELL,
)
_COLUMNS = [
    DateColumn("happened_at", label=gettext_lazy("Time"), classname="w-whitespace-nowrap"),
    Column("address", label=gettext_lazy("Address"), accessor=lambda row: _foreign(row.address)),
    StatusTagColumn(
        "type",
        accessor="get_type_display",
        label=gettext_lazy("Tracking"),
        primary=lambda row: row.type in states.TRACKED_WELL,
    ),
    Column(
        "reason",
        label=gettext_lazy("Reason"),
        width="180",
        accessor=lambda row: _foreign(row.reason),
    ),
]


def of_entry(entry):
    """Return the context of an entry's page: its events by recipient and time."""
    rows = list(entry.events.order_by("address", "happened_at", "pk")[: LISTED + 1])
    return {
        "events": Table(_COLUMNS, rows[:LISTED]) if rows else None,
        "events_are_cut": len(rows) > LISTED,
        "bad_event": entry.get_reported_display() if entry.reported in states.TRACKED_BADLY else "",
    }


#: How the category was determined, see :class:`~wagtail_smtp.delivery.classify.Classification`.
SOURCES = {
    "message": gettext_lazy("set on the message"),
    "context": gettext_lazy("set by the sending code"),
    "mailer": gettext_lazy("set by the mailer"),
    "call site": gettext_lazy("recognised from the sending code"),
    "default": gettext_lazy("no category was set"),
    "resent": gettext_lazy("same as the original message"),
}


class EntryPage(AdminPage, TemplateView):
    """Base of the pages about one entry."""

    header_icon = "list-ul"
    permission_required: str | tuple[str, ...] = permissions.VIEW_LOG

    @cached_property
    def entry(self):
        return get_object_or_404(self.get_queryset(), pk=self.kwargs["pk"])

    def get_queryset(self):
        """The log without the content of messages, which may be megabytes."""
        return LogEntry.objects.select_related("stored", "outbox").defer("stored__content")

    def get_parents(self):
        return [
            (_("Delivery log"), reverse(LOG)),
            (str(self.entry), reverse(LOG_ENTRY, args=[self.entry.pk])),
        ]


class CardTable(Table):
    """A table whose rows become cards on a narrow screen."""

    classname = "listing wsmtp-cards"


class EntryView(EntryPage):
    """Everything the log has about a message."""

    template_name = "wagtail_smtp/log/entry.html"

    def get_page_title(self):
        return str(self.entry)

    def get_parents(self):
        return super().get_parents()[:1]

    @cached_property
    def may_see_content(self):
        return self.request.user.has_perm(permissions.VIEW_CONTENT)

    @cached_property
    def header_buttons(self):
        if not self.request.user.has_perm(permissions.RESEND):
            return []
        offered = []
        if can_resend(self.entry):
            offered.append(("resend", _("Resend"), "mail"))
        if self.waits:
            offered.append(("try_now", _("Try now"), "rotate"))
            offered.append(("cancel", _("Cancel sending"), "cross"))
        return [
            HeaderButton(label, url=self._url(name), icon_name=icon, priority=priority)
            for priority, (name, label, icon) in enumerate(offered)
        ]

    def _url(self, name):
        return reverse(f"wagtail_smtp_log:{name}", args=[self.entry.pk])

    @cached_property
    def outbox(self):
        return getattr(self.entry, "outbox", None)

    @property
    def waits(self):
        return self.outbox is not None and self.outbox.state != OutboxMessage.State.SENDING

    def get_context_data(self, **kwargs):
        entry = self.entry
        recipients = entry.recipients.order_by("pk")[: LISTED + 1]
        listed, attempts = list(recipients)[:LISTED], list(entry.attempts.all())
        return super().get_context_data(**kwargs) | {
            "entry": entry,
            "tone": states.tone(entry.state),
            "state": states.tag(entry.state),
            "is_unknown": entry.state == State.UNKNOWN,
            **self._cause(),
            "facts": list(self._facts()),
            "waiting": [*self._waiting()],
            "resends": actions.of_entry(entry),
            "recipients": CardTable(_columns(_recipient_columns(entry), listed), listed),
            "is_cut": len(recipients) > LISTED,
            "listed": LISTED,
            "attempts": CardTable(_columns(_attempt_columns(entry), attempts), attempts),
            **of_entry(entry),
            **self._message(),
        }

    def _cause(self):
        """The context about the cause of a failure and the set to check."""
        if self.entry.state not in NOT_SENT:
            return {}
        failure = Failure(self.entry, cause_of(self.entry, Overview.now().live))
        return {"failure": failure, "set_url": self._set_url if failure.cause else ""}

    @cached_property
    def _set_url(self):
        """The edit URL of the last set that was tried; empty if the user may not edit it."""
        if not (self.entry.set_key and self.request.user.has_perm(permissions.CHANGE_SETS)):
            return ""
        item = SettingsSet.objects.filter(key=self.entry.set_key).only("pk").first()
        return reverse(EDIT_SET, args=[item.pk]) if item is not None else ""

    def _facts(self):
        """Yield label and value of each line about the message."""
        entry = self.entry
        yield _("From"), entry.sender
        yield _("Subject"), str(entry)
        yield _("Message-ID"), entry.message_id
        yield _("Category"), self._category()
        yield _("Sent through"), self._via()
        yield _("Configuration"), self._version()
        yield _("Redirected by"), entry.redirected_by

    def _waiting(self):
        if self.outbox is not None:
            yield _("In the outbox"), self.outbox.get_state_display()
            yield _("Attempts so far"), str(self.outbox.tries)
            yield _("Next attempt"), self.outbox.due_at
            yield _("No attempts after"), self.outbox.expires_at

    def _category(self):
        why = SOURCES.get(self.entry.category_source, "")
        label = category_label(self.entry.category)
        return f"{label} ({why})" if why else label

    def _via(self):
        name = via_label(self.entry.via)
        return format_html('<a href="{}">{}</a>', self._set_url, name) if self._set_url else name

    def _version(self):
        if not self.entry.version:
            return ""
        label = _("Version %d") % self.entry.version
        if permissions.may_see(self.request.user):
            return _link(VERSIONS, label)
        return label

    def _message(self):
        """The context about the content of the message."""
        stored = getattr(self.entry, "stored", None)
        if self.entry.category == SECURITY:
            return {
                "hidden": _("Security messages are never shown: they may contain one-time codes.")
            }
        if stored is None:
            return {"hidden": _("The content of this message is not kept.")}
        if not self.may_see_content:
            return {"hidden": _("The content is kept, but you don't have permission to view it.")}
        try:
            return {"message": KeptMessage.of(self.entry)}
        except (MessageUnreadable, StoredMessage.DoesNotExist) as error:
            return {"unreadable": str(error)}


def _link(name, label, *args):
    try:
        return format_html('<a href="{}">{}</a>', reverse(name, args=args), label)
    except NoReverseMatch:
        return label


def _columns(columns, rows):
    """Return the columns with a value in at least one row."""
    return [column for column in columns if any(column.get_value(row) for row in rows)]


def _response(row):
    return f"{row.code} {row.reply}" if row.code else row.reply


def _role(row):
    return "" if row.role == LogRecipient.Role.ENVELOPE else row.get_role_display()


def _seconds(row):
    return _("%.2f s") % row.seconds


def _foreign(value):
    """Isolate text from outside, which may run in another direction than the page."""
    return format_html("<bdi>{}</bdi>", value) if value else ""


def _recipient_columns(entry):
    return [
        Column("address", label=_("Address"), accessor=lambda row: _foreign(row.address)),
        Column("state", label=_("State"),
               accessor=lambda row: states.of_recipient(row, entry)),
        RECIPIENT_COLUMN,
        Column("role", label=_("Role"), accessor=_role),
        Column("reply", label=_("Server response"), width="180",
               accessor=lambda row: _foreign(_response(row))),
    ]  # fmt: skip


def _attempt_columns(entry):
    return [
        Column("via", label=_("Through"), accessor=lambda row: _foreign(via_label(row.via))),
        Column("state", label=_("State"), accessor=lambda row: states.of_attempt(row, entry)),
        Column("reply", label=_("Server response"), width="180",
               accessor=lambda row: _foreign(_response(row))),
        Column("phase", label=_("Last step"), accessor=states.phase),
        Column("seconds", label=_("Duration"), accessor=states.seconds),
        Column("began_at", label=_("Time"), classname="w-whitespace-nowrap"),
    ]  # fmt: skip
