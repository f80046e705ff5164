"""Each email with a code or a login link that the packages send: ``python -m`` this module.

Prints, as JSON, the categories of the emails that each step sent.
"""

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.configurations.codes_settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.mail import send_mail  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django_otp.plugins.otp_email.models import EmailDevice  # noqa: E402

from wagtail_smtp.checks import check_call_sites  # noqa: E402
from wagtail_smtp.delivery.routing import PACKAGES, exists  # noqa: E402
from wagtail_smtp.signals import message_sent  # noqa: E402


class OwnDevice(EmailDevice):
    """As django-otp's documentation shows it."""

    class Meta:
        proxy = True
        app_label = "otp_email"

    def send_mail(self, body, **kwargs):
        send_mail("A code", body, None, [self.email])


def post(path, **data):
    """What a new visitor posts."""
    response = Client().post(path, data)
    assert response.status_code < 400, (path, response.status_code, response.content[:2000])


ADA = "ada@example.com"
STEPS = {
    "allauth sign-up": lambda: post(
        "/accounts/signup/", email="eve@example.com", password1="a long password of ours"
    ),
    "allauth sign-up again": lambda: post(
        "/accounts/signup/", email=ADA, password1="a long password of ours"
    ),
    "allauth login code": lambda: post("/accounts/login/code/", email=ADA),
    "allauth password": lambda: post("/accounts/password/reset/", email=ADA),
    "otp": lambda: EmailDevice(user=ada, email=ADA, name="a").generate_challenge(),
    "otp, own": lambda: OwnDevice(user=ada, email=ADA, name="b").generate_challenge(),
    "djoser sign-up": lambda: post(
        "/djoser/users/", username="bob", email="bob@example.com", password="a long password"
    ),
    "djoser activation": lambda: post("/djoser/users/resend_activation/", email="bob@example.com"),
    "djoser password": lambda: post("/djoser/users/reset_password/", email=ADA),
    "djoser name": lambda: post("/djoser/users/reset_username/", email=ADA),
    "rest password": lambda: post("/rest/password/reset/", email=ADA),
}


def sent_by(step):
    """The categories of what ``step`` sends."""
    found = []

    def note(category, **kwargs):
        found.append(category)

    message_sent.connect(note)
    step()
    message_sent.disconnect(note)
    return found


if __name__ == "__main__":
    call_command("migrate", run_syncdb=True, verbosity=0)
    ada = User.objects.create_user("ada", ADA, "a long password of ours")
    told = {
        "sent": {name: sent_by(step) for name, step in STEPS.items()},
        "other": sent_by(lambda: send_mail("Hello", "Text", None, [ADA])),
        "gone": [site for each in PACKAGES for site in each.sites if not exists(site)],
        "warnings": [str(warning) for warning in check_call_sites()],
    }
    print(json.dumps(told))
