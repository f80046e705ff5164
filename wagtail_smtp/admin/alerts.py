"""*Alerts*: who is told what, a test alert, and the recent alerts."""

from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.generic import View
from wagtail.admin import messages
from wagtail.admin.ui.tables import Column, DateColumn
from wagtail.admin.views import generic
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import DELIVERY, AdminPage, EmailViewSet, RequiresPermission
from wagtail_smtp.admin.connection_check.views import LimitReached, count_email
from wagtail_smtp.admin.labels import told_tag
from wagtail_smtp.alerts import AlertKind, Report, email
from wagtail_smtp.channels import chat, courier, rows, services
from wagtail_smtp.channels.channel import INVALID_URL, channels, has_chat, label_of
from wagtail_smtp.conf import conf
from wagtail_smtp.models import Alert, DeliverySettings, Told
from wagtail_smtp.runtime import project

INDEX = "wagtail_smtp_alerts:index"
#: Seconds for which the page waits for the outcome of a test alert.
_WAIT = 15
_KINDS = dict(AlertKind.choices)


def _subject(alert):
    """Return kind, subject and repetitions as HTML.

    Not the text: subjects of messages and responses need the permission to see the log.
    """
    kind = _KINDS.get(alert.kind, alert.kind)
    parts = [
        format_html('<span data-kind="{}">{}</span>', alert.kind, kind),
        format_html('<bdi class="w-font-semibold">{}</bdi>', alert.subject),
    ]
    if alert.repetitions:
        text = ngettext(
            "Before that, it had happened %d more time.",
            "Before that, it had happened %d more times.",
            alert.repetitions,
        )
        parts.append(format_html("<span>{}</span>", text % alert.repetitions))
    return format_html_join("", "<div>{}</div>", ((part,) for part in parts))


def _outcomes(alert):
    """Return what each channel has as HTML."""
    if alert.state == Alert.State.EXPIRED:
        return alert.get_state_display()
    if not alert.outcomes:
        is_open = alert.state == Alert.State.OPEN
        return alert.get_state_display() if is_open else _("No one was told")
    return format_html_join(
        "",
        '<div data-channel="{}"><bdi>{}</bdi> {} <bdi>{}</bdi></div>',
        (
            (name, label_of(name), told_tag(outcome["state"]), _detail(outcome["detail"]))
            for name, outcome in sorted(alert.outcomes.items())
        ),
    )


def _detail(detail):
    return _("its URL can't be used") if detail == INVALID_URL else detail


class AlertsView(AdminPage, generic.BaseListingView):
    """The page."""

    model = Alert
    template_name = "wagtail_smtp/alerts.html"
    page_title = gettext_lazy("Alerts")
    header_icon = "warning"
    any_permission_required = permissions.SEE
    index_url_name = INDEX
    index_results_url_name = "wagtail_smtp_alerts:results"
    table_classname = "listing wsmtp-cards"
    paginate_by = 25
    default_ordering = "-pk"
    verbose_name_plural = Alert._meta.verbose_name_plural
    no_results_message = gettext_lazy("There have been no alerts.")

    def get_base_queryset(self):
        return rows.rows()

    def get_parents(self):
        return [(_("Email delivery"), reverse(DELIVERY))]

    @cached_property
    def columns(self):
        return [
            Column("subject", accessor=_subject, label=_("Alert"), width="50%"),
            DateColumn("created_at", label=_("Time"), classname="w-whitespace-nowrap"),
            Column("outcomes", accessor=_outcomes, label=_("Channels")),
        ]

    def get_context_data(self, *args, **kwargs):
        found = channels()
        return super().get_context_data(*args, **kwargs) | {
            "channels": [_described(channel) for channel in found],
            "off": [_KINDS[kind] for kind in conf.ALERTS_OFF if kind in _KINDS],
            "is_missing": has_chat() and not chat.is_installed(),
            "command": chat.INSTALL,
            "may_test": bool(found) and self.request.user.has_perm(permissions.SEND_TEST),
        }


def _described(channel):
    """Return what the template needs about a channel: never its URL."""
    label = channel.label
    if channel.is_email:
        number = len(email.admins())
        label += " " + ngettext("(%d address)", "(%d addresses)", number) % number
    is_usable = channel.is_email or services.service_of(channel.url) is not None
    return {"name": channel.name, "label": label, "is_usable": is_usable}


# The thread that stores the alert would wait for this request's transaction on SQLite.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class SendTestAlertView(RequiresPermission, View):
    """Sends a test alert to every channel."""

    http_method_names = ["post", "options"]
    permission_required = permissions.SEND_TEST
    any_permission_required = permissions.SEE

    def post(self, request, *args, **kwargs):
        back = HttpResponseRedirect(reverse(INDEX))
        if not channels():
            messages.error(request, _("No one gets alerts, so no test alert was sent."))
            return back
        try:
            count_email(request.user)
        except LimitReached as error:
            messages.error(request, str(error))
            return back
        # Logged first, because what was sent can't be undone.
        log(instance=DeliverySettings.load(), action="wagtail_smtp.test_alert")
        with project.in_site_language():
            report = Report(
                AlertKind.TEST,
                "test",
                _("Test alert"),
                _("This is a test. Alerts about email arrive here."),
            )
        ticket = courier.submit(report)
        ticket.is_done.wait(_WAIT)
        _tell(request, ticket)
        return back


def _tell(request, ticket):
    """Show what became of a test alert."""
    outcomes = ticket.alert.outcomes if ticket.alert is not None else {}
    if not ticket.is_done.is_set():
        messages.warning(request, _("The test alert is still being sent. Reload this page later."))
    elif all(outcome["state"] == Told.SENT for outcome in outcomes.values()) and outcomes:
        messages.success(request, _("The test alert was sent to every channel."))
    else:
        # Only names: the listing below says more.
        failed = [
            label_of(name) for name, outcome in outcomes.items() if outcome["state"] != Told.SENT
        ]
        text = _("The test alert was not sent to: %s. See below.")
        messages.error(request, text % (", ".join(failed) or _("any channel")))


class AlertsViewSet(EmailViewSet):
    """Registers the page."""

    name = "wagtail_smtp_alerts"
    url_prefix = "email/alerts"
    icon = "warning"
    menu_label = gettext_lazy("Alerts")
    menu_name = "smtp-alerts"
    any_permission_required = permissions.SEE

    def get_urlpatterns(self):
        return [
            path("", self.construct_view(AlertsView), name="index"),
            path("results/", self.construct_view(AlertsView, results_only=True), name="results"),
            path("test/", self.construct_view(SendTestAlertView), name="test"),
        ]
