"""The pages of the packages in codes_settings.py, and what projects override."""

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.auth.views import PasswordResetConfirmView
from django.core.mail import send_mail
from django.urls import include, path


class OwnAdapter(DefaultAccountAdapter):
    """Renders email in another way, as many projects do."""

    def send_mail(self, template_prefix, email, context):
        send_mail("A code", "It is in here", None, [email])


urlpatterns = [
    path("accounts/", include("allauth.urls")),
    path("djoser/", include("djoser.urls")),
    path("rest/", include("dj_rest_auth.urls")),
    path(
        "new-password/<uidb64>/<token>/",
        PasswordResetConfirmView.as_view(),
        name="password_reset_confirm",
    ),
]
