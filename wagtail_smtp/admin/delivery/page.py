"""*Email delivery*: what is live, which email goes where, recent failures, and a test email."""

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
from wagtail_smtp.admin.base import DELIVERY, AdminPage, EmailViewSet, reload_buttons
from wagtail_smtp.admin.connection_check.views import LimitReached, count_email
from wagtail_smtp.admin.deliverability import domain_lines
from wagtail_smtp.admin.delivery import summary
from wagtail_smtp.admin.delivery.chart import volume
from wagtail_smtp.admin.delivery.email_check import EmailCheckForm, last_result, remember
from wagtail_smtp.admin.delivery.failures import RECENT, last_failures
from wagtail_smtp.admin.delivery.status import forget_counts, status_lines
from wagtail_smtp.admin.labels import category_choices, named
from wagtail_smtp.admin.sets.overview import Overview, notices
from wagtail_smtp.channels.channel import channels
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain.routes import routes
from wagtail_smtp.diagnostics.check_set import send_test_email, why_held
from wagtail_smtp.diagnostics.conditions.outbox import OVERDUE
from wagtail_smtp.diagnostics.decisions import decisions
from wagtail_smtp.diagnostics.status import outbox
from wagtail_smtp.live import environments
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.live.lookup import NO_VERSION
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.runtime.project import address_of
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
            "may_open_sets": may(permissions.CHANGE_SETS),
            "may_test": may(permissions.SEND_TEST),
            **(self._configured(overview) if may_see else {}),
            **(_messages(overview, may(permissions.RELOAD)) if may_see or may_see_log else {}),
            "may_decide": permissions.may_decide_about_held(self.request.user),
        }
        if context["may_test"]:
            self._test(context)
        context.setdefault("form", MethodForm(instance=DeliverySettings.load()))
        return context

    def _configured(self, overview):
        config = overview.live if overview.plan and overview.plan.live else NO_VERSION.configuration
        return {
            "live": overview.plan.live if overview.plan else None,
            "held_from": overview.held_from,
            "has_sets": SettingsSet.objects.exists(),
            "may_add": self.request.user.has_perm(permissions.ADD_SETS),
            "routes": [
                (label, shown, explanation)
                for slug, label in category_choices()
                for explanation, shown in named(routes(slug, config, overview.held_from))
            ],
            "forced": conf.forced_redirect(),
            "forced_by": conf.source("REDIRECT_ALL_TO"),
            "decisions": decisions(),
            "notices": self._notices(overview),
            "standard": standard.description(),
            "deliverability": domain_lines(overview.live),
            "channels": [channel.label for channel in channels()],
        }

    def _notices(self, overview):
        if overview.is_held:
            return []  # nothing is sent; the reload page shows what comes after it
        saved = overview.plan.target if overview.plan else None
        return notices(overview.live, self.request.user, saved=saved)

    def _test(self, context):
        form = EmailCheckForm(initial={"recipient": address_of(self.request.user)})
        context.setdefault("test_form", form)
        context["is_held"] = environments.holds_all(context["overview"].held_from)
        if "tested" in self.request.GET:
            context["result"] = last_result(self.request, context["overview"])

    def post(self, request, *args, **kwargs):
        if not request.user.has_perm(permissions.CHANGE_METHOD):
            raise PermissionDenied
        form = self._saved_form()
        if form.errors:
            messages.validation_error(request, _("The delivery method was not saved."), form)
            return self.render_to_response(self.get_context_data(form=form))
        text = _("Saved, but not live yet. Nothing changes until someone reloads the application.")
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


def _messages(overview, may_reload):
    """Return the context about recent messages and the outbox."""
    counts, overdue = ({}, 0.0) if overview.refusal else outbox()
    if environments.is_holding(overview.held_from):
        overdue = 0.0  # the messages wait for that reason
    is_stuck = overdue > OVERDUE.total_seconds()
    return {
        "status_lines": status_lines(overview, is_stuck=is_stuck, may_reload=may_reload),
        "failures": last_failures(),
        "failure_days": RECENT.days,
        "volume": volume(),
        "summary_url": summary.choose_url(),
        "waiting": counts.get("waiting", 0),
        "sending": counts.get("sending", 0),
        "held": counts.get("held", 0),
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
        recipient, category = form.cleaned_data["recipient"], form.cleaned_data["category"]
        if reason := why_held(category):
            return self._refuse(_("No test email was sent.") + f" {reason}", form)
        try:
            count_email(request.user)
        except LimitReached as error:
            return self._refuse(str(error), form)
        # Logged first, because a sent message can't be undone.
        data = {"address": recipient, "category": category}
        log(instance=DeliverySettings.load(), action="wagtail_smtp.test_delivery", data=data)
        remember(request, send_test_email(recipient, category), recipient)
        forget_counts()
        result = last_result(request, Overview.now())
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
