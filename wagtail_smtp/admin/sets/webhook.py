"""Delivery tracking of one set: webhook address, secret, and the email provider's signing key."""

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
from wagtail.admin.panels import Panel
from wagtail.log_actions import log

from wagtail_smtp import tracking
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import AdminPage, EmailViewSet, SecretField, set_parents
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.tracking import check_key, normalize_key, webhook_of
from wagtail_smtp.transports.esp.catalog import PROVIDERS


def address_of(item, request):
    """The webhook address without the secret; empty if the project doesn't include the URLs."""
    try:
        url = reverse("wagtail_smtp:webhook", args=[item.key, item.transport])
    except NoReverseMatch:
        return ""
    return request.build_absolute_uri(url)


@sensitive_variables()
def tracking_state(item, known, request):
    """Return the context that describes a set's tracking; ``known`` are its secrets, or None."""
    provider = PROVIDERS[item.transport]
    needs_key = provider.webhook is not None and provider.webhook.needs_key
    return {
        "provider": provider,
        "address": address_of(item, request),
        "is_ready": known is not None,
        "lacks_key": needs_key and known is not None and not known.key,
    }


class KeyForm(forms.Form):
    """The provider's signing key, write-only."""

    key = SecretField()
    remove = forms.BooleanField(label=gettext_lazy("Remove the saved key"), required=False)

    def __init__(self, *args, provider, known, **kwargs):
        super().__init__(*args, **kwargs)
        self.provider = provider
        self.fields["key"].label = provider.webhook.key_label
        self.fields["key"].help_text = (
            _("Leave empty to keep the saved key, which is never shown.")
            if known.key
            else _("Without it, all tracking events are refused.")
            if provider.webhook.needs_key
            else _("Recommended: tracking events are then also checked by their signature.")
        )
        if not known.key:
            del self.fields["remove"]

    @sensitive_variables()
    def clean_key(self):
        key = normalize_key(self.provider.webhook, self.cleaned_data["key"])
        if key:
            try:
                check_key(self.provider, key)
            except Exception:
                # An exception of the provider's library may contain the key.
                raise ValidationError(
                    _("This is not a valid key for this email provider.")
                ) from None
        return key


@method_decorator(sensitive_post_parameters("key"), name="dispatch")
class TrackingView(AdminPage, TemplateView):
    """The page; a POST creates a new secret or saves a signing key."""

    permission_required = permissions.CHANGE_SETS
    template_name = "wagtail_smtp/tracking/set.html"
    header_icon = "mail"

    @cached_property
    def item(self):
        item = get_object_or_404(SettingsSet, pk=self.kwargs["pk"])
        if webhook_of(item.transport) is None:
            raise Http404
        return item

    @property
    def provider(self):
        return PROVIDERS[self.item.transport]

    def get_page_title(self):
        return _("Delivery tracking for “%s”") % self.item

    def get_parents(self):
        return set_parents(self.item)

    @sensitive_variables()
    def get_context_data(self, *, form=None, shown=None, **kwargs):
        known = tracking.of_set(self.item)
        if form is None and known is not None and self.provider.webhook.key:
            form = KeyForm(provider=self.provider, known=known)
        return super().get_context_data(**kwargs) | {
            **tracking_state(self.item, known, self.request),
            "item": self.item,
            "is_encrypted": self.request.is_secure(),
            "key_form": form,
            "shown": shown,
            "user_name": tracking.USER,
        }

    @sensitive_variables()
    def post(self, request, *args, **kwargs):
        if address := address_of(self.item, request):
            return self._save(address)
        return HttpResponseRedirect(request.path)

    @in_transaction
    @sensitive_variables()
    def _save(self, address):
        DeliverySettings.lock()
        self.__dict__.pop("item", None)  # read it again under the lock
        if "renew" in self.request.POST:
            return self._renew(address)
        return self._keep_key()

    @sensitive_variables()
    def _renew(self, address):
        shown = tracking.renew(self.item, address)
        log(instance=self.item, action="wagtail_smtp.tracking_secret")
        messages.success(self.request, _("A new secret was created. It is shown only once."))
        # No redirect, which would store the secret in the session; admin pages are never cached.
        return self.render_to_response(self.get_context_data(shown=shown))

    @sensitive_variables()
    def _keep_key(self):
        known = tracking.of_set(self.item)
        if known is None or not self.provider.webhook.key:
            return HttpResponseRedirect(self.request.path)
        form = KeyForm(self.request.POST, provider=self.provider, known=known)
        if not form.is_valid():
            messages.validation_error(
                self.request, _("The key was not saved. Correct the error below."), form
            )
            return self.render_to_response(self.get_context_data(form=form))
        key, removed = form.cleaned_data["key"], form.cleaned_data.get("remove")
        if key or removed:
            tracking.change_key(self.item, key)
            log(instance=self.item, action="wagtail_smtp.tracking_key")
            said = _("The key was saved.") if key else _("The key was removed.")
            messages.success(self.request, said)
        return HttpResponseRedirect(self.request.path)


class TrackingViewSet(EmailViewSet):
    """Registers the page."""

    name = "wagtail_smtp_tracking"
    url_prefix = "email/tracking"

    def get_urlpatterns(self):
        return [path("<int:pk>/", self.construct_view(TrackingView), name="set")]


class TrackingPanel(Panel):
    """Shows whether tracking is on, and links to its page."""

    class BoundPanel(Panel.BoundPanel):
        """The panel of one set."""

        template_name = "wagtail_smtp/tracking/panel.html"

        @cached_property
        def item(self):
            """The stored set; after an error, the form's instance contains what was typed."""
            return SettingsSet.objects.filter(pk=self.instance.pk).first()

        def is_shown(self):
            return (
                super().is_shown()
                and self.item is not None
                and webhook_of(self.item.transport) is not None
                and self.request.user.has_perm(permissions.CHANGE_SETS)
            )

        def get_context_data(self, parent_context=None):
            return super().get_context_data(parent_context) | {
                **tracking_state(self.item, tracking.of_set(self.item), self.request),
                "page": reverse("wagtail_smtp_tracking:set", args=[self.item.pk]),
            }
