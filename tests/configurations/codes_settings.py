"""The tests' project with packages that send codes and login links, in their own templates."""

from tests.settings import *


class _NoMigrations(dict):
    """Makes tables from the models, which is faster."""

    def __contains__(self, app):
        return True

    def __getitem__(self, app):
        return None


MIGRATION_MODULES = _NoMigrations()
ROOT_URLCONF = "tests.configurations.codes_project"
INSTALLED_APPS += [
    "django.contrib.sites",
    "rest_framework",
    "rest_framework.authtoken",
    "allauth",
    "allauth.account",
    "django_otp",
    "django_otp.plugins.otp_email",
    "two_factor",
    "two_factor.plugins.email",
    "djoser",
    "dj_rest_auth",
]
MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
SITE_ID = 1
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_RATE_LIMITS = False
ACCOUNT_ADAPTER = os.environ.get("CODES_ADAPTER", "allauth.account.adapter.DefaultAccountAdapter")
ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = "CODES_RESET_BY_CODE" in os.environ
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = "CODES_RESET_BY_CODE" in os.environ
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
DJOSER = {
    "ACTIVATION_URL": "activate/{uid}/{token}",
    "PASSWORD_RESET_CONFIRM_URL": "reset/{uid}/{token}",
    "USERNAME_RESET_CONFIRM_URL": "name/{uid}/{token}",
    "SEND_ACTIVATION_EMAIL": True,
}
REST_AUTH = {"SESSION_LOGIN": False}
