"""The state of a set's access token on its page, with the link to a consent."""

from django.urls import reverse
from django.utils.translation import gettext_lazy
from wagtail.admin.panels import Panel

from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.diagnostics.causes.base import Failure
from wagtail_smtp.diagnostics.explain import explain
from wagtail_smtp.live.consents import states
from wagtail_smtp.models import SettingsSet


def redirect_uri(request) -> str:
    """The address that identity providers send browsers back to; it is registered there."""
    return request.build_absolute_uri(reverse("wagtail_smtp_consent:back"))


def token_state(item: SettingsSet):
    """The state of a stored set's token, with the cause and fix of a refusal; or None."""
    config = item.frozen(())
    state = states([config]).get(config.key)
    if state is None:
        return None
    cause = _cause(item, state.refusal) if state.refusal is not None else None
    return {
        "kind": state.kind,
        "expires_at": state.expires_at,
        "is_waiting": state.is_waiting,
        "cause": cause,
        "words": state.refusal.reply if state.refusal is not None else "",
    }


def _cause(item, refusal):
    return explain(Failure.of(refusal, item.host, item.port, item.encryption))


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

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.heading = gettext_lazy("Access token")

        def get_context_data(self, parent_context=None):
            context = super().get_context_data(parent_context)
            context["redirect_uri"] = redirect_uri(self.request)
            if not self.instance.pk:
                return context
            # As it is stored: after a mistake the form's instance holds what was typed.
            stored = SettingsSet.objects.filter(pk=self.instance.pk).first()
            if stored is not None and stored.authentication == SettingsSet.Authentication.OAUTH2:
                context["state"] = token_state(stored)
                if OAuth.of(stored.oauth).needs_consent:
                    context["connect_url"] = reverse(
                        "wagtail_smtp_consent:connect", args=[stored.pk]
                    )
            return context
