"""The page of one log entry: what happened to a message, and why."""

from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin.ui.tables import Column, DateColumn, Table
from wagtail.admin.widgets.button import HeaderButton

from wagtail_smtp import suppression
from wagtail_smtp.admin import labels, permissions
from wagtail_smtp.admin.base import (
    EDIT_SET,
    LOG,
    LOG_ENTRY,
    SUPPRESSED_ADDRESS,
    VERSIONS,
    AdminPage,
    environment_problem,
)
from wagtail_smtp.admin.delivery.failures import FailedEntry
from wagtail_smtp.admin.labels import carrier_label, category_label
from wagtail_smtp.admin.log.message import ReadableMessage
from wagtail_smtp.admin.log.resends import Resends
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.diagnostics.figures import NOT_SENT
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.live import environments
from wagtail_smtp.maintenance.resend import can_resend
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage, SettingsSet, StoredMessage
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import held

#: Recipients, and tracking events, that the page lists.
LISTED = 200

#: How the category was determined, see :class:`~wagtail_smtp.delivery.routing.Classification`.
CATEGORY_SOURCES = {
    "message": gettext_lazy("set on the message"),
    "context": gettext_lazy("set by the sending code"),
    "mailer": gettext_lazy("set by the mailer"),
    "call site": gettext_lazy("recognised from the sending code"),
    "default": gettext_lazy("no category was set"),
    "resent": gettext_lazy("same as the original message"),
}


#: How the site was found, see :class:`~wagtail_smtp.delivery.site.MessageSite`.
SITE_SOURCES = {
    "message": gettext_lazy("set on the message"),
    "context": gettext_lazy("set by the sending code"),
    "page": gettext_lazy("the site of the page"),
    "request": gettext_lazy("the site of the request"),
    "default": gettext_lazy("the default site"),
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

    @property
    def can_change_outbox(self):
        """Whether the message waits in the outbox, isn't being sent and isn't held."""
        outbox = getattr(self.entry, "outbox", None)
        if outbox is None or environment_problem() or self.is_held:
            return False
        return outbox.state != OutboxMessage.State.SENDING

    @property
    def is_held(self):
        """Whether the message came with a copied database and is held."""
        outbox = getattr(self.entry, "outbox", None)
        return outbox is not None and not environment_problem() and held.is_held(outbox)

    def get_parents(self):
        return [
            (_("Delivery log"), reverse(LOG)),
            (str(self.entry), reverse(LOG_ENTRY, args=[self.entry.pk])),
        ]


class EntryView(EntryPage):
    """Everything the log has about a message."""

    template_name = "wagtail_smtp/log/entry.html"

    def get_page_title(self):
        return str(self.entry)

    def get_parents(self):
        return super().get_parents()[:1]

    @cached_property
    def header_buttons(self):
        if not self.request.user.has_perm(permissions.RESEND):
            return []
        buttons = []
        if can_resend(self.entry):
            buttons.append(self._button("resend", _("Resend"), "mail"))
        if self.can_change_outbox:
            buttons.append(self._button("try_now", _("Try now"), "rotate", priority=1))
            buttons.append(self._button("cancel", _("Cancel sending"), "cross", priority=2))
        if self.is_held:
            if held.may_be_released(self.entry.outbox):
                buttons.append(self._button("release", _("Release"), "mail", priority=1))
            buttons.append(self._button("delete", _("Delete"), "bin", priority=2))
        return buttons

    def _button(self, name, label, icon, priority=0):
        url = reverse(f"wagtail_smtp_log:{name}", args=[self.entry.pk])
        return HeaderButton(label, url=url, icon_name=icon, priority=priority)

    def get_context_data(self, **kwargs):
        entry = self.entry
        recipients = list(entry.recipients.order_by("pk")[: LISTED + 1])
        events = list(entry.events.order_by("address", "happened_at", "pk")[: LISTED + 1])
        is_returned = entry.reported in labels.TRACKED_BADLY
        tone = labels.state_tone(entry.state)
        return super().get_context_data(**kwargs) | {
            "entry": entry,
            # The message was sent, but it didn't arrive everywhere.
            "tone": "unsure" if is_returned and tone == "good" else tone,
            "state": labels.state_tag(entry.state),
            "is_unknown": entry.state == State.UNKNOWN,
            "is_held": self.is_held,
            "may_be_released": self.is_held and held.may_be_released(entry.outbox),
            **self._cause(),
            "facts": list(self._facts()),
            "waiting": list(self._waiting()),
            "resends": Resends.of(entry),
            "recipients": _table(
                _recipient_columns(entry, self._suppressed(recipients)), recipients[:LISTED]
            ),
            "is_cut": len(recipients) > LISTED,
            "listed": LISTED,
            "attempts": _table(_attempt_columns(entry), list(entry.attempts.all())),
            "events": _table(_event_columns(), events[:LISTED]),
            "events_are_cut": len(events) > LISTED,
            "bad_event": entry.get_reported_display() if is_returned else "",
            **self._message(),
        }

    def _suppressed(self, recipients):
        """The recipients on the suppression list, with their rows there, if the user may see it."""
        if not self.request.user.has_perm(permissions.VIEW_SUPPRESSED):
            return {}
        return suppression.find(row.address for row in recipients)

    def _cause(self):
        """The context about the cause of a failure and the set to check."""
        if self.entry.state not in (*NOT_SENT, State.SUPPRESSED):
            return {}
        failure = FailedEntry(self.entry)
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
        yield _("Site"), self._site()
        yield _("Sent through"), self._via()
        yield _("Configuration"), self._version()
        yield _("Redirected by"), entry.redirected_by

    def _waiting(self):
        if outbox := getattr(self.entry, "outbox", None):
            if self.is_held:
                yield _("In the outbox"), _("Held")
                yield _("Queued in"), outbox.environment or environments.PRODUCTION
                return
            yield _("In the outbox"), outbox.get_state_display()
            yield _("Attempts so far"), str(outbox.attempts)
            yield _("Next attempt"), outbox.due_at
            yield _("No attempts after"), outbox.expires_at

    def _category(self):
        why = CATEGORY_SOURCES.get(self.entry.category_source, "")
        label = category_label(self.entry.category)
        return f"{label} ({why})" if why else label

    def _site(self):
        entry = self.entry
        if not entry.site_source:
            return ""
        if entry.site_key is None:
            return _("unknown: it could not be looked up")
        return f"{entry.site or entry.site_key} ({SITE_SOURCES[entry.site_source]})"

    def _via(self):
        name = carrier_label(self.entry)
        return format_html('<a href="{}">{}</a>', self._set_url, name) if self._set_url else name

    def _version(self):
        if not self.entry.version:
            return ""
        label = _("Version %d") % self.entry.version
        if permissions.may_see(self.request.user):
            return format_html('<a href="{}">{}</a>', reverse(VERSIONS), label)
        return label

    def _message(self):
        """The context about the content of the message."""
        if self.entry.category == SECURITY:
            return {
                "hidden": _("Security messages are never shown: they may contain one-time codes.")
            }
        if not hasattr(self.entry, "stored"):
            return {"hidden": _("The content of this message is not kept.")}
        if not self.request.user.has_perm(permissions.VIEW_CONTENT):
            return {"hidden": _("The content is kept, but you don't have permission to view it.")}
        try:
            return {"message": ReadableMessage.of(self.entry)}
        except (MessageUnreadable, StoredMessage.DoesNotExist) as error:
            return {"unreadable": str(error)}


def _table(columns, rows):
    """Return a table without empty columns; on a narrow screen, its rows become cards."""
    columns = [column for column in columns if any(column.get_value(row) for row in rows)]
    return Table(columns, rows, classname="listing wsmtp-cards")


def _text(name, label, get_text, **options):
    """Return a column with text from outside, which may run in another direction than the page."""
    return Column(name, label=label, accessor=lambda row: _isolated(get_text(row)), **options)


def _isolated(text):
    return format_html("<bdi>{}</bdi>", text) if text else ""


def _tracking(name):
    return Column(
        name,
        label=_("Tracking"),
        accessor=lambda row: labels.tracking_tag(getattr(row, name)),
    )


def _response(row):
    return f"{row.code} {row.reply}" if row.code else row.reply


def _role(row):
    return "" if row.role == LogRecipient.Role.ENVELOPE else row.get_role_display()


def _suppressed_link(row, suppressed):
    if row.address not in suppressed:
        return ""
    found = suppressed[row.address]
    url = reverse(SUPPRESSED_ADDRESS, args=[found.pk])
    return format_html('<a href="{}">{}</a>', url, found.get_reason_display())


def _recipient_columns(entry, suppressed):
    def response(row):
        is_linked = row.state == RecipientState.SUPPRESSED and row.address in suppressed
        return "" if is_linked else _response(row)

    return [
        _text("address", _("Address"), lambda row: row.address),
        Column("state", label=_("State"), accessor=lambda row: labels.recipient_tag(row, entry)),
        _tracking("reported"),
        Column("suppressed", label=_("Suppressed"),
               accessor=lambda row: _suppressed_link(row, suppressed)),
        Column("role", label=_("Role"), accessor=_role),
        _text("reply", _("Server response"), response, width="240"),
    ]  # fmt: skip


def _attempt_columns(entry):
    return [
        _text("via", _("Through"), carrier_label),
        Column("state", label=_("State"), accessor=lambda row: labels.attempt_tag(row, entry)),
        _text("reply", _("Server response"), _response, width="240"),
        Column("phase", label=_("Last step"), accessor=labels.phase_label),
        Column("seconds", label=_("Duration"), accessor=labels.duration_label),
        Column("began_at", label=_("Time"), classname="w-whitespace-nowrap"),
    ]


def _event_columns():
    return [
        DateColumn("happened_at", label=_("Time"), classname="w-whitespace-nowrap"),
        _text("address", _("Address"), lambda row: row.address),
        _tracking("type"),
        _text("reason", _("Reason"), lambda row: row.reason, width="40%"),
    ]
