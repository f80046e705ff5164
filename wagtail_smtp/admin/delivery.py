"""*Email delivery*: what is live, which mail goes where, and the delivery method."""

from dataclasses import dataclass

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.admin.views.generic.base import WagtailAdminTemplateMixin
from wagtail.admin.viewsets.base import ViewSet
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.in_use import Overview
from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.admin.versions import VersionsMenuItem
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.candidates import FORCED
from wagtail_smtp.delivery.explain import Explanation, explain
from wagtail_smtp.live.database import write_alias
from wagtail_smtp.live.look_up import NO_VERSION
from wagtail_smtp.models import DeliverySettings
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
            (DeliverySettings.Method.CUSTOM, _("Custom: the servers listed here")),
            (
                DeliverySettings.Method.STANDARD,
                _("Standard: the site's own server (%s)") % standard.description(),
            ),
        ]
        self.fields["method"].help_text = _(
            "If you do not know what SMTP is, choose Standard. The sets then stay as they are, but "
            "carry nothing, and their redirect is not in force."
        )

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("loaded_revision") != self.instance.revision:
            text = _("%(who)s changed the delivery method meanwhile. Nothing was saved.")
            who = self.instance.changed_by or _("Somebody")
            self.add_error("method", ValidationError(text % {"who": who}))
        return cleaned


@dataclass(frozen=True)
class Row:
    """One line of the routing table."""

    category: str
    told: Explanation

    @property
    def backups(self):
        """What is tried after the first choice."""
        return [step.name for step in self.told.steps[1:] if step.is_used]


def routing_table(overview):
    """Which mail goes where now, by category."""
    config = overview.live if overview.plan and overview.plan.live else NO_VERSION.configuration
    return [
        Row(category_label(category), explain(category, config))
        for category in dict.fromkeys([*BUILT_IN, *conf.CATEGORIES])
    ]


class DeliveryView(permissions.RequirePermission, WagtailAdminTemplateMixin, TemplateView):
    """What is live, and the form of the delivery method."""

    template_name = "wagtail_smtp/delivery.html"
    page_title = gettext_lazy("Email delivery")
    header_icon = "mail"

    def get_breadcrumbs_items(self):
        return [*self.breadcrumbs_items, {"url": "", "label": self.get_page_title()}]

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        overview = Overview.now()
        user = self.request.user
        server = standard.server()
        context.update(
            overview=overview,
            rows=routing_table(overview),
            forced=conf.forced_redirect(),
            forced_source=FORCED,
            unconfigured=server is not None and not server.is_configured,
            standard=standard.description(),
            may_change=user.has_perm(permissions.CHANGE_METHOD),
            may_reload=user.has_perm(permissions.RELOAD),
        )
        context.setdefault("form", MethodForm(instance=DeliverySettings.load()))
        return context

    def post(self, request, *args, **kwargs):
        if not request.user.has_perm(permissions.CHANGE_METHOD):
            raise PermissionDenied
        with transaction.atomic(using=write_alias()):
            form = MethodForm(request.POST, instance=DeliverySettings.lock())
            if not form.is_valid():
                messages.validation_error(request, _("The delivery method was not saved."), form)
                return self.render_to_response(self.get_context_data(form=form))
            if form.has_changed():
                form.instance.stamp(request.user)
                form.save()
                log(instance=form.instance, action="wagtail.edit", content_changed=True)
        buttons = []
        if request.user.has_perm(permissions.RELOAD):
            buttons = [
                messages.button(reverse("wagtail_smtp_reload:index"), _("Review and reload"))
            ]
        messages.success(
            request, _("Saved. Not in use yet: email still leaves as before."), buttons=buttons
        )
        return HttpResponseRedirect(request.path)


class DeliveryViewSet(ViewSet):
    """Registers the page."""

    name = "wagtail_smtp_delivery"
    url_prefix = "email/delivery"
    icon = "mail"
    menu_label = gettext_lazy("Email delivery")
    menu_name = "smtp-delivery"
    menu_item_class = VersionsMenuItem

    def get_urlpatterns(self):
        return [path("", self.construct_view(DeliveryView), name="index")]
