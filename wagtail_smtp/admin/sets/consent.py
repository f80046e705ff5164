"""OAuth 2 consent: redirect to the identity provider, and back to one fixed address."""

import json
import secrets
import time

from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import include, path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.admin.panels import Panel
from wagtail.log_actions import log
from wagtail.utils.urlpatterns import decorate_urlpatterns

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import (
    EDIT_SET,
    SETS,
    AdminPage,
    RequiresPermission,
    explain_missing_tables,
    set_parents,
)
from wagtail_smtp.causes import explain
from wagtail_smtp.causes.base import Failure
from wagtail_smtp.config import crypto, validation
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.exceptions import EmailDeliveryError, SecretError, TokenRefused
from wagtail_smtp.live import consents, set_secrets, token_store
from wagtail_smtp.live.consents import states
from wagtail_smtp.live.db.retry import in_transaction
from wagtail_smtp.models import DeliverySettings, SettingsSet
from wagtail_smtp.transports.oauth import client as oauth_client


def redirect_uri(request) -> str:
    """The address that identity providers send browsers back to; it is registered there."""
    return request.build_absolute_uri(reverse("wagtail_smtp_consent:back"))


def token_state(item: SettingsSet):
    """The state of a stored set's token, with the cause and fix of a refusal; or None."""
    config = item.frozen(())
    state = states([config]).get(config.key)
    if state is None:
        return None
    return {
        "kind": state.kind,
        "expires_at": state.expires_at,
        "is_waiting": state.is_waiting,
        "cause": state.refusal and _cause(item, state.refusal),
        "response": state.refusal.reply if state.refusal else "",
    }


def _cause(item, error):
    return explain(Failure.of(error, item.host, item.port, item.encryption))


def token_notices():
    """The sets whose token could not be renewed, with the cause and its fix."""
    sets = SettingsSet.objects.filter(authentication=SettingsSet.Authentication.OAUTH2)
    by_key = {str(item.key): item for item in sets}
    found = states(item.frozen(()) for item in by_key.values())
    return [
        {"item": by_key[key], "cause": _cause(by_key[key], state.refusal)}
        for key, state in found.items()
        if state.refusal is not None
    ]


class ConsentPanel(Panel):
    """Read-only: the token's state, the address to register, and the link to connect."""

    class BoundPanel(Panel.BoundPanel):
        template_name = "wagtail_smtp/consent/panel.html"

        def get_context_data(self, parent_context=None):
            context = super().get_context_data(parent_context)
            context["redirect_uri"] = redirect_uri(self.request)
            if not self.instance.pk:
                return context
            # The stored set: after a validation error, the form's instance contains what was typed.
            stored = SettingsSet.objects.filter(pk=self.instance.pk).first()
            if stored is not None and stored.authentication == SettingsSet.Authentication.OAUTH2:
                context["state"] = token_state(stored)
                if OAuth.of(stored.oauth).needs_consent:
                    context["connect_url"] = reverse(
                        "wagtail_smtp_consent:connect", args=[stored.pk]
                    )
            return context


#: Seconds from the start of a consent to its callback.
TIMEOUT = 600
#: Pending consents that a session keeps, the newest ones, and its key for them.
_PENDING = 5
_SESSION = "wagtail_smtp_consents"
#: Query parameters of the callback that are used.
_ANSWER = ("code", "state", "iss")


class ConnectView(AdminPage, TemplateView):
    """Confirm, then redirect to the identity provider."""

    permission_required = permissions.CHANGE_SETS
    template_name = "wagtail_smtp/consent/connect.html"
    header_icon = "key"

    @cached_property
    def item(self):
        sets = SettingsSet.objects.filter(authentication=SettingsSet.Authentication.OAUTH2)
        return get_object_or_404(sets, pk=self.kwargs["pk"])

    def get_page_title(self):
        return _("Connect “%s”") % self.item.name

    def get_parents(self):
        return set_parents(self.item)

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {
            "item": self.item,
            "state": token_state(self.item),
            "problems": self.problems(),
            "redirect_uri": redirect_uri(self.request),
            "action_url": self.request.path,
            "edit_url": reverse(EDIT_SET, args=[self.item.pk]),
        }

    def problems(self):
        """Messages that say why the set can't be connected."""
        config = self.item.frozen(())
        if not OAuth.of(config.oauth).needs_consent:
            return [_("This set logs in without a consent, so there is nothing to connect.")]
        # A redirect doesn't affect the login.
        return [
            problem.message
            for problem in validation.problems(config)
            if problem.field != "redirect"
        ]

    @sensitive_variables()
    def post(self, request, *args, **kwargs):
        if self.problems():
            return self.render_to_response(self.get_context_data())
        config = self.item.frozen(())
        state = secrets.token_urlsafe(32)
        try:
            client = _client(config, self.item.secret, request.user)
            asked = oauth_client.start_consent(client, redirect_uri(request), state)
        except EmailDeliveryError as error:
            messages.error(request, error_text(error, self.item))
            return HttpResponseRedirect(reverse(EDIT_SET, args=[self.item.pk]))
        consent = {
            "pk": self.item.pk,
            "fingerprint": token_store.fingerprint(config),
            "until": time.time() + TIMEOUT,
            "kept": dict(asked.pending),
        }
        pending = request.session.get(_SESSION, {})
        pending[state] = crypto.encrypt(json.dumps(consent), _binding(request, state))
        request.session[_SESSION] = dict(list(pending.items())[-_PENDING:])
        log(instance=self.item, action="wagtail_smtp.connect")
        return HttpResponseRedirect(asked.url)


@sensitive_variables()
def _client(config, secret, user):
    """The client that asks the identity provider.

    Raises:
        SecretError: the client secret can't be used.
    """
    if secret is not None:
        set_secrets.claim(config, secret.references, user)
    return token_store.client_of(config, token_store.reveal(config, secret))


def _binding(request, state):
    return {"consent": state, "user": str(request.user.pk)}


def error_text(error: Exception, item: SettingsSet) -> str:
    """Return the message for a failure, with the identity provider's sanitised response."""
    if isinstance(error, SecretError):
        return str(error)
    cause = _cause(item, error)
    text = f"{cause.title}. {cause.advice}"
    response = getattr(error, "reply", "")
    if response:
        text += " " + _("The identity provider's response: %s") % response
    return text


@method_decorator(never_cache, name="dispatch")
class CallbackView(RequiresPermission, View):
    """The address that the identity provider sends the browser back to."""

    permission_required = permissions.CHANGE_SETS

    @sensitive_variables()
    def get(self, request):
        consent = self._pending_consent(request)
        item = SettingsSet.objects.filter(pk=consent["pk"]).first() if consent else None
        if item is None:
            messages.error(
                request,
                _(
                    "This link has expired or was started in another browser. "
                    "Press “Connect” again."
                ),
            )
            return HttpResponseRedirect(reverse(SETS))
        try:
            self._finish(request, consent, item)
        except EmailDeliveryError as error:
            messages.error(request, error_text(error, item))
        return HttpResponseRedirect(reverse(EDIT_SET, args=[item.pk]))

    @sensitive_variables()
    def _pending_consent(self, request):
        """Return what was stored for this state: once, and only to the same user before TIMEOUT."""
        state = request.GET.get("state", "")
        pending = request.session.get(_SESSION, {})
        sealed = pending.pop(state, None)
        if sealed is None:
            return None
        request.session[_SESSION] = pending
        try:
            consent = json.loads(crypto.decrypt(sealed, _binding(request, state)))
        except SecretError:
            return None
        return consent if time.time() < consent["until"] else None

    @sensitive_variables()
    def _finish(self, request, consent, item):
        config = item.frozen(())
        if token_store.fingerprint(config) != consent["fingerprint"]:
            messages.error(request, _CHANGED)
            return
        answer = {name: request.GET[name] for name in _ANSWER if name in request.GET}
        if "code" not in answer:
            # The link's author controls this text: it is interpreted, but never shown.
            error, description = (
                request.GET.get(name, "")[:2000] for name in ("error", "error_description")
            )
            raise TokenRefused("no code", reason=oauth_client.classify_refusal(error, description))
        client = _client(config, item.secret, request.user)
        token = oauth_client.finish_consent(client, consent["kept"], answer)
        is_waiting = self._keep(config, token, consent, item)
        if is_waiting is None:
            messages.error(request, _CHANGED)
            return
        text = _("“%s” is connected: this site can send from its mailbox. Test it, then reload.")
        if is_waiting:
            text = _(
                "“%s” is connected again. The new consent is not live yet: test it, then reload. "
                "Until then email is sent with the previous one."
            )
        messages.success(request, text % item.name)

    @in_transaction
    @sensitive_variables()
    def _keep(self, config, token, consent, item):
        """Store the token. True if it needs a reload; None (nothing stored) if the set changed."""
        DeliverySettings.lock()
        now = SettingsSet.objects.filter(pk=item.pk).first()
        if now is None or token_store.fingerprint(now.frozen(())) != consent["fingerprint"]:
            return None
        may_reload = self.request.user.has_perm(permissions.RELOAD)
        is_waiting = consents.keep(config, token, may_reload=may_reload)
        log(instance=item, action="wagtail_smtp.consent")
        return is_waiting


_CHANGED = gettext_lazy("The settings have changed since you started. Press “Connect” again.")


def urlpatterns():
    """Return the URLs for Wagtail's ``register_admin_urls``."""
    pages = (
        [
            path("back/", CallbackView.as_view(), name="back"),
            path("<int:pk>/", ConnectView.as_view(), name="connect"),
        ],
        "wagtail_smtp_consent",
    )
    return decorate_urlpatterns([path("email/consent/", include(pages))], explain_missing_tables)
