"""Names inside frameworks that the transports rely on: which one changed, and who uses it."""

import inspect
import smtplib
from typing import Any

import django
import pytest
import requests
import urllib3
from anymail.backends.base import AnymailBaseBackend
from anymail.backends.postmark import EmailBackend as Postmark
from django.core.mail import message as django_message
from urllib3.connection import HTTPConnection


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        # transports/http.py: connect to checked addresses, with our certificates only
        (HTTPConnection, "_new_conn"),
        (urllib3.PoolManager(), "pool_classes_by_scheme"),
        (requests.adapters.HTTPAdapter, "build_connection_pool_key_attributes"),
        (requests.adapters.HTTPAdapter, "cert_verify"),
        (requests.Session, "get_redirect_target"),
        # transports/smtp/connect.py: read replies with our own reader, greet again after TLS
        (smtplib.SMTP(), "getreply"),
        (smtplib.SMTP(), "ehlo_resp"),
        (smtplib.SMTP(), "helo_resp"),
        (smtplib.SMTP(), "esmtp_features"),
        (smtplib.SMTP(), "does_esmtp"),
        # transports/esp/transport.py: keep the project's defaults out, check the redirect
        (Postmark(server_token="token"), "send_defaults"),
        (Postmark(server_token="token"), "session"),
    ],
)
def test_a_name_in_a_framework_still_exists(owner: Any, name: str) -> None:
    assert hasattr(owner, name)


def test_anymail_builds_a_payload_from_a_message_and_defaults() -> None:
    build = inspect.signature(AnymailBaseBackend.build_message_payload)
    assert list(build.parameters) == ["self", "message", "defaults"]
    source = inspect.getsource(AnymailBaseBackend._send)
    assert "self.build_message_payload(message, self.send_defaults)" in source


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="transports/mime.py uses them up to 5.2")
@pytest.mark.parametrize("name", ["MIMEMixin", "sanitize_address"])
def test_a_name_in_djangos_legacy_email_code_still_exists(name: str) -> None:
    assert hasattr(django_message, name)
