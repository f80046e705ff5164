"""Which providers report, and what proves that it is them."""

import base64
import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode

from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.transports import guard
from wagtail_smtp.transports.tls import ssl_context


@dataclass(frozen=True, slots=True)
class Provider:
    """An email provider's delivery tracking.

    Attributes:
        slug: the transport, and django-anymail's module.
        view: the name of django-anymail's view.
        key: what that view calls the provider's signing key; empty: it signs nothing.
        key_label: what the provider calls it.
        needs_key: without it no report is accepted.
        is_public: it is a public key, given as the middle of a PEM file.
        url_option: what the view calls the address that was entered at the provider.
        options: the view's other options. All of them are named, so that nothing is taken from
            the project's settings for django-anymail.
        blind: the kinds of report that don't say whom of several recipients they are about;
            None: all of them.
        asks_by: methods, HEAD besides, by which it checks that the address exists.
        steps: what to do at the provider, a text for people as ``key_label`` is.
    """

    slug: str
    label: str
    view: str
    steps: Any
    key: str = ""
    key_label: Any = ""
    needs_key: bool = False
    is_public: bool = False
    url_option: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    blind: frozenset[str] | None = frozenset()
    asks_by: tuple[str, ...] = ()

    def build(self, basic_auth: str, key: str, url: str) -> Any:
        """One of django-anymail's views, for one request.

        Raises:
            ImportError: django-anymail, or what it needs for this provider, is not installed.
        """
        options = dict(self.options) | {"webhook_secret": [basic_auth]}
        if self.key:
            options[self.key] = key or None
        if self.url_option:
            options[self.url_option] = url
        return import_string(f"anymail.webhooks.{self.slug}.{self.view}")(**options)

    def bare_key(self, key: str) -> str:
        """A key as the view wants it: of a public one, without the PEM header and footer."""
        if not self.is_public:
            return key.strip()
        return "".join(re.sub("-----[A-Z ]+-----", "", key).split())

    def check_key(self, key: str) -> None:
        """Raise the provider library's error if the key is not valid."""
        self.build("reports:password", key, "https://www.example.com/")
        if self.is_public:
            load_der_public_key(base64.b64decode(key, validate=True))

    def names_recipient(self, kind: str) -> bool:
        """Whether a report of this kind says whom it is about."""
        return self.blind is not None and kind not in self.blind


_PROVIDERS = (
    Provider(
        "amazon_ses",
        "Amazon SES",
        "AmazonSESTrackingWebhookView",
        _(
            "Create an Amazon SNS topic with an HTTPS subscription to this address, and publish "
            "the configuration set's events to it. The subscription is confirmed automatically."
        ),
        options={
            "auto_confirm_sns_subscriptions": True,
            "session_params": {},
            "client_params": {},
        },
        blind=frozenset({"opened", "clicked"}),
    ),
    Provider(
        "brevo",
        "Brevo",
        "BrevoTrackingWebhookView",
        _("Transactional, Settings, Webhook: add this address, with the events you want."),
    ),
    Provider(
        "mailersend",
        "MailerSend",
        "MailerSendTrackingWebhookView",
        _("Domains, Manage, Webhooks: add this address, then enter its signing secret here."),
        key="signing_secret",
        key_label=_("Signing secret"),
        needs_key=True,
    ),
    Provider(
        "mailgun",
        "Mailgun",
        "MailgunTrackingWebhookView",
        _(
            "Sending, Webhooks: add this address for each event you want. The key is under "
            "API security."
        ),
        key="webhook_signing_key",
        key_label=_("HTTP webhook signing key"),
        needs_key=True,
        options={"api_key": None},
    ),
    Provider(
        "mailjet",
        "Mailjet",
        "MailjetTrackingWebhookView",
        _("Account settings, Event notifications: enter this address for each event you want."),
    ),
    Provider(
        "mailtrap",
        "Mailtrap",
        "MailtrapTrackingWebhookView",
        _("Settings, Webhooks: add this address in the JSON format, then enter its secret here."),
        key="tracking_secret",
        key_label=_("Signature secret"),
    ),
    Provider(
        "mandrill",
        "Mandrill",
        "MandrillCombinedWebhookView",
        _(
            "Settings, Webhooks: add this address, exactly as it was shown with its secret, then "
            "enter the key of the webhook here."
        ),
        key="webhook_key",
        key_label=_("Webhook key"),
        needs_key=True,
        url_option="webhook_url",
    ),
    Provider(
        "postal",
        "Postal",
        "PostalTrackingWebhookView",
        _(
            "Webhooks: add this address. The public key is what follows p= in the server's "
            "DKIM record."
        ),
        key="webhook_key",
        key_label=_("Public key"),
        needs_key=True,
        is_public=True,
    ),
    Provider(
        "postmark",
        "Postmark",
        "PostmarkTrackingWebhookView",
        _("Servers, Message streams, Webhooks: add this address, with the events you want."),
    ),
    Provider(
        "resend",
        "Resend",
        "ResendTrackingWebhookView",
        _("Webhooks: add this address, then enter its signing secret here."),
        key="signing_secret",
        key_label=_("Signing secret"),
        blind=None,
    ),
    Provider(
        "sendgrid",
        "SendGrid",
        "SendGridTrackingWebhookView",
        _(
            "Settings, Mail settings, Event webhooks: add this address, turn on the signed event "
            "webhook, then enter its verification key here."
        ),
        key="tracking_webhook_verification_key",
        key_label=_("Verification key"),
        is_public=True,
    ),
    Provider(
        "sparkpost",
        "SparkPost",
        "SparkPostTrackingWebhookView",
        _(
            "Webhooks: add this address with the events you want, and use the user name and "
            "password shown here for basic authentication."
        ),
        options={"track_initial_open_as_opened": False},
    ),
    Provider(
        "unisender_go",
        "Unisender Go",
        "UnisenderGoTrackingWebhookView",
        _("Webhooks: add this address. Events are signed with the project's API key."),
        key="api_key",
        key_label=_("API key"),
        needs_key=True,
        asks_by=("GET",),
    ),
)
PROVIDERS: Mapping[str, Provider] = {item.slug: item for item in _PROVIDERS}


def basic_auth(request: Any) -> str | None:
    """User name and password that came with a request, as ``user:password``."""
    return cast("str | None", import_string("anymail.utils.get_request_basic_auth")(request))


#: arn:partition:sns:region:account:name
_TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d):\d{12}:[\w.-]{1,256}"
)
#: Seconds for each step.
_TIMEOUT = 10


def confirm(message: Mapping[str, str]) -> None:
    """Confirm the subscription that ``message`` asks for.

    Raises:
        ValueError: it names no topic.
        OSError: Amazon can't be reached, or doesn't confirm.
    """
    topic, token = str(message.get("TopicArn")), str(message.get("Token"))
    host = _host(topic)
    asked = {"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token}
    connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT)
    context = ssl_context("")
    connection.sock = guard.open_first(
        guard.resolve(host, 443),
        _TIMEOUT,
        lambda plain: context.wrap_socket(plain, server_hostname=host),
    )
    try:
        connection.sock.settimeout(_TIMEOUT)
        connection.request("GET", f"/?{urlencode(asked)}")
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError("Amazon SNS gave no answer that can be read") from error
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"Amazon SNS answered {status}")


def _host(topic: str) -> str:
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise ValueError("no topic of Amazon SNS")
    partition, region = found.groups()
    return f"sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")
