"""The delivery reports of one set: their address, its secret, and the provider's signing key."""

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import NoReverseMatch, path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.admin.views.generic.base import WagtailAdminTemplateMixin
from wagtail.admin.viewsets.base import ViewSet
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.before_migrate import requires_tables
from wagtail_smtp.live.again import in_transaction
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.tracking import proof
from wagtail_smtp.tracking.providers import PROVIDERS

PAGE = "wagtail_smtp_reports:set"
INDEX = "wagtailsnippets_wagtail_smtp_settingsset:list"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"


def address_of(item, request):
    """Where the provider reports to, without the secret; empty: the project has no such URL."""
    try:
        url = reverse("wagtail_smtp:reports", args=[item.key, item.transport])
    except NoReverseMatch:
        return ""
    return request.build_absolute_uri(url)


class KeyForm(forms.Form):
    """The provider's signing key, write-only."""

    key = forms.CharField(
        required=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False),
    )
    remove = forms.BooleanField(label=gettext_lazy("Remove the stored key"), required=False)

    def __init__(self, *args, provider, known, **kwargs):
        super().__init__(*args, **kwargs)
        self.provider = provider
        self.fields["key"].label = provider.key_label
        self.fields["key"].help_text = (
            _("A key is stored, and never shown again. Left empty, it stays.")
            if known.key
            else _("Without it every report is refused.")
            if provider.needs_key
            else _("Recommended: reports are then also checked by their signature.")
        )
        if not known.key:
            del self.fields["remove"]

    @sensitive_variables()
    def clean_key(self):
        key = self.provider.bare_key(self.cleaned_data["key"])
        if key:
            try:
                self.provider.check_key(key)
            except Exception:
                # Whatever the provider's library raises may hold the key.
                raise ValidationError(_("This is no key of this provider.")) from None
        return key


@method_decorator(sensitive_post_parameters("key"), name="dispatch")
class ReportsView(permissions.RequirePermission, WagtailAdminTemplateMixin, TemplateView):
    """The page; posted, it makes a new secret or keeps a signing key."""

    permission = permissions.CHANGE_SETS
    template_name = "wagtail_smtp/reports/set.html"
    header_icon = "mail"

    @cached_property
    def item(self):
        item = get_object_or_404(SettingsSet, pk=self.kwargs["pk"])
        if item.transport not in PROVIDERS:
            raise Http404
        return item

    @property
    def provider(self):
        return PROVIDERS[self.item.transport]

    def get_page_title(self):
        return _("Delivery reports of “%s”") % self.item

    def get_breadcrumbs_items(self):
        return [
            *self.breadcrumbs_items,
            {"url": reverse(INDEX), "label": _("SMTP settings")},
            {"url": reverse(EDIT, args=[self.item.pk]), "label": str(self.item)},
            {"url": "", "label": self.get_page_title()},
        ]

    @sensitive_variables()
    def get_context_data(self, *, form=None, shown=None, **kwargs):
        known = proof.of_set(self.item)
        if form is None and known is not None and self.provider.key:
            form = KeyForm(provider=self.provider, known=known)
        return super().get_context_data(**kwargs) | {
            "item": self.item,
            "provider": self.provider,
            "address": address_of(self.item, self.request),
            "is_encrypted": self.request.is_secure(),
            "is_ready": known is not None,
            "lacks_key": known is not None and self.provider.needs_key and not known.key,
            "key_form": form,
            "shown": shown,
            "user_name": proof.USER,
        }

    @sensitive_variables()
    def post(self, request, *args, **kwargs):
        address = address_of(self.item, request)
        if not address:
            return HttpResponseRedirect(request.path)
        return self._save(address)

    @in_transaction
    @sensitive_variables()
    def _save(self, address):
        DeliverySettings.lock()
        self.__dict__.pop("item", None)  # read it again now that it is locked
        if "renew" in self.request.POST:
            return self._renew(address)
        return self._keep_key()

    @sensitive_variables()
    def _renew(self, address):
        shown = proof.renew(self.item, address)
        log(instance=self.item, action="wagtail_smtp.report_secret")
        messages.success(self.request, _("A new secret was made. It is shown this once."))
        # Not redirected, so that the secret stands in no session; no page of the admin is cached.
        return self.render_to_response(self.get_context_data(shown=shown))

    @sensitive_variables()
    def _keep_key(self):
        known = proof.of_set(self.item)
        if known is None or not self.provider.key:
            return HttpResponseRedirect(self.request.path)
        form = KeyForm(self.request.POST, provider=self.provider, known=known)
        if not form.is_valid():
            messages.validation_error(self.request, _("The key was not saved."), form)
            return self.render_to_response(self.get_context_data(form=form))
        key, removed = form.cleaned_data["key"], form.cleaned_data.get("remove")
        if key or removed:
            proof.change_key(self.item, key)
            log(instance=self.item, action="wagtail_smtp.report_key")
            said = _("The key was saved.") if key else _("The key was removed.")
            messages.success(self.request, said)
        return HttpResponseRedirect(self.request.path)


@requires_tables
class ReportsViewSet(ViewSet):
    """Registers the page."""

    name = "wagtail_smtp_reports"
    url_prefix = "email/reports"

    def get_urlpatterns(self):
        return [path("<int:pk>/", self.construct_view(ReportsView), name="set")]
