"""The contract: capabilities, and a check by each kind of transport."""

import subprocess
import sys

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from wagtail_smtp.transports.base import Envelope, OutgoingMessage, Stage
from wagtail_smtp.transports.esp.transport import AnymailTransport
from wagtail_smtp.transports.smtp.transport import SMTPTransport
from wagtail_smtp.transports.standard import StandardTransport

SMTP = {
    "STANDARD": {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "OPTIONS": {"host": "localhost"},
    }
}
LOCMEM = {"STANDARD": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
POSTMARK = {
    "STANDARD": {
        "BACKEND": "anymail.backends.postmark.EmailBackend",
        "OPTIONS": {"server_token": "token"},
    }
}
BROKEN = {"STANDARD": {"BACKEND": f"{__name__}.BrokenBackend"}}


class BrokenBackend(BaseEmailBackend):
    """Raises what no email backend should."""

    def open(self) -> bool:
        raise KeyError("secret")


def outgoing() -> OutgoingMessage:
    message = EmailMessage("Hi", "Body", "from@example.com", ["to@example.com"])
    return OutgoingMessage(message, Envelope("from@example.com", ("to@example.com",)))


def test_smtp_and_email_providers_differ() -> None:
    assert (SMTPTransport.is_black_box, AnymailTransport.is_black_box) == (False, True)
    assert not SMTPTransport.supports_merge_data
    assert AnymailTransport.supports_merge_data
    assert SMTPTransport.supports_login_check
    assert not AnymailTransport.supports_login_check


@pytest.mark.parametrize(
    ("own", "merges", "uses_from_email"),
    [(SMTP, False, True), (LOCMEM, True, True), (POSTMARK, True, False)],
)
def test_standard_delivery_has_the_capabilities_of_its_backend(
    own: dict[str, object], merges: bool, uses_from_email: bool, settings: pytest.FixtureRequest
) -> None:
    settings.WAGTAIL_SMTP = own  # type: ignore[attr-defined]
    transport = StandardTransport()
    assert transport.is_black_box
    assert transport.supports_merge_data == merges
    assert transport.uses_from_email_as_sender == uses_from_email


class TestCheckOfStandardDelivery:
    def stages(self, message: OutgoingMessage | None = None) -> list[Stage]:
        return list(StandardTransport().check("from@example.com", message))

    def test_connects(
        self, settings: pytest.FixtureRequest, mailoutbox: list[EmailMessage]
    ) -> None:
        settings.WAGTAIL_SMTP = LOCMEM  # type: ignore[attr-defined]
        [stage] = self.stages()
        assert (stage.name, stage.error) == ("connect", None)
        assert mailoutbox == []

    def test_sends(self, settings: pytest.FixtureRequest, mailoutbox: list[EmailMessage]) -> None:
        settings.WAGTAIL_SMTP = LOCMEM  # type: ignore[attr-defined]
        assert [stage.name for stage in self.stages(outgoing())] == ["connect", "message"]
        assert len(mailoutbox) == 1

    def test_returns_any_error_as_a_failed_stage(self, settings: pytest.FixtureRequest) -> None:
        settings.WAGTAIL_SMTP = BROKEN  # type: ignore[attr-defined]
        [stage] = self.stages(outgoing())
        assert stage.name == "connect"
        assert "KeyError" in str(stage.error)
        assert "secret" not in str(stage.error)


def test_the_plugin_starts_without_any_extra() -> None:
    # Wagtail itself requires requests.
    program = """
import sys
for name in ("anymail", "authlib", "boto3", "botocore", "joserfc"):
    sys.modules[name] = None
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
import wagtail_smtp.live.lookup
import wagtail_smtp.transports.esp.transport
import wagtail_smtp.transports.oauth.token_manager
import wagtail_smtp.admin.sets.viewset
"""
    subprocess.run([sys.executable, "-c", program], check=True)
