"""*Email delivery*: what is live, which email goes where, recent failures, and a test email."""

from dataclasses import dataclass
from datetime import timedelta

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import DELIVERY, AdminPage, EmailViewSet, cached, reload_buttons
from wagtail_smtp.admin.connection_check.views import LimitReached, count_email
from wagtail_smtp.admin.delivery.chart import volume
from wagtail_smtp.admin.delivery.email_check import EmailCheckForm, last_result, remember
from wagtail_smtp.admin.delivery.failures import RECENT, last_failures, latest_failure
from wagtail_smtp.admin.labels import category_choices
from wagtail_smtp.admin.sets.overview import Overview, notices
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain import active_redirect, explain
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.diagnostics.check_set import send_test_email
from wagtail_smtp.diagnostics.status import OVERDUE, outbox
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.live.lookup import NO_VERSION
from wagtail_smtp.models import DeliverySettings, LogEntry, SettingsSet
from wagtail_smtp.models.choices import State
from wagtail_smtp.models.log import STANDARD
from wagtail_smtp.runtime.project import address_of
from wagtail_smtp.transports import standard

#: Percentage from which the next message may not fit.
_FULL_AT = 98
#: Seconds for which the result is cached: every page needs it.
_CACHED = 60
_KEY = "wagtail_smtp.banner.store"


def without_addresses(redirect):
    """Describe a redirect to users who may not see its addresses."""
    if redirect.is_blocked:
        if redirect.is_all and not redirect.addresses:
            return _(
                "No email is being sent: it is redirected, but there is no valid report email."
            )
        return _(
            "Some email is not being sent: it is redirected, but there is no valid report email."
        )
    if redirect.is_all:
        return _("All email is redirected. Nothing reaches its real recipients.")
    return _("Some email is redirected and doesn't reach its real recipients.")


@dataclass(frozen=True)
class StatusLine:
    """A status line.

    Attributes:
        kind: identifies its subject, e.g. ``store``.
        tone: ``good``, ``unsure`` or ``bad``.
        advice: how to fix it.
        anchor: id of the section of the page with details.
    """

    kind: str
    tone: str
    text: str
    advice: str = ""
    anchor: str = ""


def store_warning():
    """Return the line about a message store that is full or nearly full, or None."""
    percent = cached(_KEY, _CACHED, stored_message.percent_used)
    if percent < stored_message.WARN_AT:
        return None
    is_full = percent >= _FULL_AT
    if is_full:
        text = _(
            "The message store is full. Undelivered messages may not be kept, and email may not "
            "be queued."
        )
    else:
        text = _("The message store is %d%% full.") % percent
    advice = _(
        "When it is full, undelivered messages are not kept and email can't be queued. Look for "
        "undelivered messages in the delivery log, or ask a developer to raise "
        "WAGTAIL_SMTP['MAX_STORED']."
    )
    return StatusLine("store", "bad" if is_full else "unsure", text, advice)


def status_lines(overview, *, is_stuck):
    """Return every problem, the worst first; without a bad one, whether email is known to work.

    Args:
        overview: describes the live configuration.
        is_stuck: whether the outbox is not being processed.
    """
    lines = [*_problems(overview, is_stuck)]
    if not any(line.tone == "bad" for line in lines):
        lines.insert(0, _works())
    return lines


def _problems(overview, is_stuck):
    if overview.refusal:
        yield StatusLine("refusal", "bad", overview.refusal)
    redirect = None if overview.refusal else active_redirect(overview.live)
    if redirect is not None and redirect.is_blocked:
        yield StatusLine("redirect", "bad", without_addresses(redirect))
    if failure := latest_failure():
        yield StatusLine("failed", "bad", str(failure), anchor="failures-section")
    if is_stuck:
        text = _("Messages in the outbox are not being sent.")
        yield StatusLine("outbox", "bad", text, anchor="outbox-section")
    if _is_standard_unconfigured():
        yield StatusLine(
            "standard",
            "bad",
            _("Standard delivery is not configured, so password resets can't be sent."),
            _(
                "Ask a developer to set EMAIL_HOST and the related settings, or "
                'WAGTAIL_SMTP["STANDARD"], in the project\'s settings.'
            ),
        )
    if store := store_warning():
        yield store


def _is_standard_unconfigured():
    server = standard.server()
    if server is None or server.is_configured:
        return False
    # A mail server on the same machine needs no settings.
    return _last_sent(STANDARD) is None


def _works():
    if _last_sent() is not None:
        return StatusLine("works", "good", _("Email is being sent."))
    text = _("Send a test email to find out whether email works.")
    return StatusLine("unknown", "unsure", text)


def _last_sent(carrier=""):
    """Return the newest message sent in the last days, or None."""
    sent = LogEntry.objects.using(write_alias()).filter(state=State.SENT)
    if carrier:
        sent = sent.through(carrier)
    newest = sent.order_by("-pk").first()
    is_recent = newest is not None and newest.created_at >= timezone.now() - RECENT
    return newest if is_recent else None


class MethodForm(forms.ModelForm):
    """The delivery method."""

    loaded_revision = forms.IntegerField(widget=forms.HiddenInput)

    class Meta:
        model = DeliverySettings
        fields = ["method"]
        widgets = {"method": forms.RadioSelect}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["loaded_revision"].initial = self.instance.revision
        field = self.fields["method"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            (DeliverySettings.Method.CUSTOM, _("Custom: use the sets under Email → SMTP settings")),
            (
                DeliverySettings.Method.STANDARD,
                _("Standard: use the project's own settings (%s)") % standard.description(),
            ),
        ]
        field.help_text = _(
            "Not sure? Choose Standard. Your settings sets are kept but not used, and any redirect "
            "in them is off."
        )

    def clean(self):
        super().clean()
        cleaned = self.cleaned_data
        if cleaned.get("loaded_revision") != self.instance.revision:
            text = _(
                "%(who)s has changed the delivery method since you opened this page. Your change "
                "was not saved."
            )
            who = self.instance.changed_by or _("Someone")
            self.add_error("method", ValidationError(text % {"who": who}))
        return cleaned


class DeliveryView(AdminPage, TemplateView):
    """The overview page with the form for the delivery method.

    The configuration is shown to users who may see it; messages and failures also to users who may
    see the log.
    """

    template_name = "wagtail_smtp/delivery.html"
    page_title = gettext_lazy("Email delivery")
    header_icon = "mail"
    any_permission_required = permissions.SEE_DELIVERY

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        overview = Overview.now()
        may = self.request.user.has_perm
        may_see = permissions.may_see(self.request.user)
        may_see_log = may(permissions.VIEW_LOG)
        context |= {
            "overview": overview,
            "may_see": may_see,
            "may_see_log": may_see_log,
            "may_change": may(permissions.CHANGE_METHOD),
            "may_reload": may(permissions.RELOAD),
            "may_test": may(permissions.SEND_TEST),
            **(self._configured(overview) if may_see else {}),
            **(_messages(overview) if may_see or may_see_log else {}),
        }
        if context["may_test"]:
            self._test(context)
        context.setdefault("form", MethodForm(instance=DeliverySettings.load()))
        return context

    def _configured(self, overview):
        config = overview.live if overview.plan and overview.plan.live else NO_VERSION.configuration
        return {
            "live": overview.plan.live if overview.plan else None,
            "has_sets": SettingsSet.objects.exists(),
            "may_add": self.request.user.has_perm(permissions.ADD_SETS),
            "routes": [(label, explain(slug, config)) for slug, label in category_choices()],
            "forced": conf.forced_redirect(),
            "notices": notices(
                overview.live,
                self.request.user,
                saved=overview.plan.target if overview.plan else None,
            ),
            "standard": standard.description(),
        }

    def _test(self, context):
        form = EmailCheckForm(initial={"recipient": address_of(self.request.user)})
        context.setdefault("test_form", form)
        if "tested" in self.request.GET:
            context["result"] = last_result(self.request, context["overview"].live)

    def post(self, request, *args, **kwargs):
        if not request.user.has_perm(permissions.CHANGE_METHOD):
            raise PermissionDenied
        form = self._saved_form()
        if form.errors:
            messages.validation_error(request, _("The delivery method was not saved."), form)
            return self.render_to_response(self.get_context_data(form=form))
        text = _("Saved, but not live yet. Email is sent as before until you reload.")
        messages.success(request, text, buttons=reload_buttons(request))
        return HttpResponseRedirect(request.path)

    @in_transaction
    def _saved_form(self):
        """Save the posted form if it is valid, and return it."""
        form = MethodForm(self.request.POST, instance=DeliverySettings.lock())
        if form.is_valid() and form.has_changed():
            form.instance.stamp(self.request.user)
            form.save()
            log(instance=form.instance, action="wagtail.edit", content_changed=True)
        return form


def _messages(overview):
    """Return the context about recent messages and the outbox."""
    counts, overdue = outbox()
    is_stuck = overdue > OVERDUE.total_seconds()
    return {
        "status_lines": status_lines(overview, is_stuck=is_stuck),
        "failures": last_failures(),
        "failure_days": RECENT.days,
        "volume": volume(),
        "waiting": counts.get("waiting", 0),
        "sending": counts.get("sending", 0),
        "due_since": timezone.now() - timedelta(seconds=overdue) if overdue else None,
        "is_stuck": is_stuck,
        "is_queued": conf.DELIVERY == "queued" or conf.RETRY_DEFERRED,
    }


class SendTestView(DeliveryView):
    """Sends the test email; the page then shows how it was sent."""

    http_method_names = ["post", "options"]
    permission_required = permissions.SEND_TEST

    def post(self, request, *args, **kwargs):
        form = EmailCheckForm(request.POST)
        if not form.is_valid():
            return self._refuse(_("No test email was sent."), form)
        try:
            count_email(request.user)
        except LimitReached as error:
            return self._refuse(str(error), form)
        recipient, category = form.cleaned_data["recipient"], form.cleaned_data["category"]
        # Logged first, because a sent message can't be undone.
        data = {"address": recipient, "category": category}
        log(instance=DeliverySettings.load(), action="wagtail_smtp.test_delivery", data=data)
        remember(request, send_test_email(recipient, category), recipient)
        result = last_result(request, Overview.now().live)
        show = {"info": messages.success, "warning": messages.warning, "critical": messages.error}
        show[result.status](request, result.headline)
        return HttpResponseRedirect(f"{reverse(DELIVERY)}?tested#test-section")

    def _refuse(self, text, form):
        messages.validation_error(self.request, text, form)
        return self.render_to_response(self.get_context_data(test_form=form))


class DeliveryViewSet(EmailViewSet):
    """Registers the page."""

    name = "wagtail_smtp_delivery"
    url_prefix = "email/delivery"
    icon = "mail"
    menu_label = gettext_lazy("Email delivery")
    menu_name = "smtp-delivery"
    any_permission_required = permissions.SEE_DELIVERY

    def get_urlpatterns(self):
        return [
            path("", self.construct_view(DeliveryView), name="index"),
            path("test/", self.construct_view(SendTestView), name="test"),
        ]
