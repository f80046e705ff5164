"""*Email delivery*: what is live, which email goes where, recent failures, and a test email."""

from dataclasses import dataclass
from datetime import timedelta

from django import forms
from django.contrib.auth import get_user_model
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
from wagtail_smtp.admin.base import DELIVERY, RELOAD, AdminPage, EmailViewSet
from wagtail_smtp.admin.connection_check.limits import LimitReached, count_email
from wagtail_smtp.admin.delivery.chart import volume
from wagtail_smtp.admin.delivery.email_check import EmailCheckForm, last_result, remember
from wagtail_smtp.admin.delivery.failures import RECENT, last_failures
from wagtail_smtp.admin.delivery.status_lines import status_lines
from wagtail_smtp.admin.labels import category_choices
from wagtail_smtp.admin.sets.overview import Overview, notices
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain import Explanation, explain
from wagtail_smtp.diagnostics.send_email import send_test_email
from wagtail_smtp.diagnostics.status import OVERDUE, outbox
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.live.lookup import NO_VERSION
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.transports import standard


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
        self.fields["method"].choices = [
            (DeliverySettings.Method.CUSTOM, _("Custom: use the sets under Email → SMTP settings")),
            (
                DeliverySettings.Method.STANDARD,
                _("Standard: use the project's own settings (%s)") % standard.description(),
            ),
        ]
        self.fields["method"].help_text = _(
            "Not sure? Choose Standard. Your settings sets are kept but not used, and any redirect "
            "in them is off."
        )

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("loaded_revision") != self.instance.revision:
            text = _(
                "%(who)s has changed the delivery method since you opened this page. Your change "
                "was not saved."
            )
            who = self.instance.changed_by or _("Someone")
            self.add_error("method", ValidationError(text % {"who": who}))
        return cleaned


@dataclass(frozen=True)
class Row:
    """One row of the routing table."""

    category: str
    explanation: Explanation

    @property
    def backups(self):
        """Names of the sets that are tried after the first choice."""
        return [step.name for step in self.explanation.steps[1:] if step.is_used]


def routing_table(overview):
    """Return where email of each category goes now."""
    config = overview.live if overview.plan and overview.plan.live else NO_VERSION.configuration
    return [Row(label, explain(category, config)) for category, label in category_choices()]


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
        return {
            "live": overview.plan.live if overview.plan else None,
            "has_sets": SettingsSet.objects.exists(),
            "may_add": self.request.user.has_perm(permissions.ADD_SETS),
            "rows": routing_table(overview),
            "forced": conf.forced_redirect(),
            "notices": notices(
                overview.live,
                self.request.user,
                saved=overview.plan.target if overview.plan else None,
            ),
            "standard": standard.description(),
        }

    def _test(self, context):
        address = getattr(self.request.user, get_user_model().get_email_field_name(), "")
        context.setdefault("test_form", EmailCheckForm(initial={"recipient": address}))
        if "tested" in self.request.GET:
            context["result"] = last_result(self.request, context["overview"].live)

    def post(self, request, *args, **kwargs):
        if not request.user.has_perm(permissions.CHANGE_METHOD):
            raise PermissionDenied
        form = self._saved_form()
        if form.errors:
            messages.validation_error(request, _("The delivery method was not saved."), form)
            return self.render_to_response(self.get_context_data(form=form))
        buttons = []
        if request.user.has_perm(permissions.RELOAD):
            buttons = [messages.button(reverse(RELOAD), _("Review and reload"))]
        messages.success(
            request,
            _("Saved, but not live yet. Email is sent as before until you reload."),
            buttons=buttons,
        )
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
