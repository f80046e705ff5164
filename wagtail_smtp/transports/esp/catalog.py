"""The email providers that django-anymail supports: options, API URLs and delivery tracking.

A table only: django-anymail is imported when it is used and need not be installed.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.config.validation import is_host, may_log_in_without_tls
from wagtail_smtp.config.values import Problem, SettingsSetConfig

#: The command that installs django-anymail.
INSTALL = 'pip install "wagtail-smtp[anymail]"'
#: The metadata key that the provider returns in tracking events.
METADATA = "wsmtp"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of an email provider; ``name`` is its name in django-anymail's backend.

    Attributes:
        kind: how it is validated: ``text``, ``url``, ``domain`` or ``region``.
        choices: pairs of value and label; empty: free text.
        default: used if the field is empty.
    """

    name: str
    label: Any
    is_secret: bool = False
    is_required: bool = True
    kind: str = "text"
    choices: tuple[tuple[str, Any], ...] = ()
    default: str = ""
    hint: Any = ""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Delivery tracking of an email provider, by a webhook view of django-anymail.

    Attributes:
        view: the name of the view.
        steps: what the user does at the provider.
        key: the view's option for the provider's signing key; empty: it signs nothing.
        key_label: the provider's name for it.
        needs_key: whether events are refused without it.
        is_public_key: whether it is a public key, entered without PEM header and footer.
        url_option: the view's option for the address that was entered at the provider.
        options: the view's other options. They are passed explicitly so that the project's
            ``ANYMAIL`` setting doesn't apply.
        unaddressed: the types of events that don't name one of several recipients; None: all.
        test_methods: HTTP methods, besides HEAD, with which it tests the address.
    """

    view: str
    steps: Any
    key: str = ""
    key_label: Any = ""
    needs_key: bool = False
    is_public_key: bool = False
    url_option: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    unaddressed: frozenset[str] | None = frozenset()
    test_methods: tuple[str, ...] = ()

    def names_recipient(self, event_type: str) -> bool:
        """Whether events of this type name their recipient."""
        return self.unaddressed is not None and event_type not in self.unaddressed


@dataclass(frozen=True, slots=True)
class ESP:
    """An email provider.

    Attributes:
        slug: the module of its backend, and a set's ``transport``.
        options: the options in a set.
        url: the API's URL, unless an option sets it; may contain options in braces.
        fixed: options of its backend that a set can't change. They are passed explicitly so that
            the project's ``ANYMAIL`` setting doesn't apply.
        returns_metadata: whether tracking events contain the message's metadata.
        webhook: its delivery tracking, if it has any.
    """

    slug: str
    label: Any
    options: tuple[Option, ...]
    url: str = ""
    hint: Any = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    returns_metadata: bool = True
    webhook: Webhook | None = None

    @property
    def backend(self) -> str:
        """The dotted path of its backend."""
        return f"anymail.backends.{self.slug}.EmailBackend"

    @property
    def is_installed(self) -> bool:
        """Whether its backend can be imported."""
        try:
            importlib.import_module(f"anymail.backends.{self.slug}")
        except ImportError:
            return False
        return True

    def described(self, values: Mapping[str, str]) -> str:
        """A set's options with the form's labels."""
        known = {option.name: option for option in self.options}
        return ", ".join(
            f"{known[name].label}: {dict(known[name].choices).get(value, value)}"
            if name in known
            else f"{name}: {value}"
            for name, value in values.items()
            if value
        )


def _key(name: str, label: Any = "", hint: Any = "") -> Option:
    return Option(name, label or _("API key"), is_secret=True, hint=hint)


def _at(*choices: tuple[str, Any]) -> Option:
    return Option("api_url", _("Region"), choices=choices, default=choices[0][0], kind="url")


_NO_WORKAROUND_CHANGES = {"workaround_display_name_bugs": True}

PROVIDERS: Mapping[str, ESP] = {
    provider.slug: provider
    for provider in (
        ESP(
            "amazon_ses",
            "Amazon SES",
            (
                Option("region_name", _("Region"), kind="region", hint=_("For example eu-west-1.")),
                Option("aws_access_key_id", _("Access key ID")),
                _key("aws_secret_access_key", _("Secret access key")),
                Option(
                    "configuration_set_name",
                    _("Configuration set"),
                    is_required=False,
                    hint=_("Required for delivery tracking."),
                ),
            ),
            url="https://email.{region_name}.amazonaws.com/",
            hint=_(
                "The access key's user needs the permission ses:SendEmail, and for templates "
                "ses:SendBulkEmail."
            ),
            fixed={"message_tag_name": None},
            webhook=Webhook(
                "AmazonSESTrackingWebhookView",
                _(
                    "Create an Amazon SNS topic with an HTTPS subscription to this address, and "
                    "publish the configuration set's events to it. The subscription is confirmed "
                    "automatically."
                ),
                options={
                    "auto_confirm_sns_subscriptions": True,
                    "session_params": {},
                    "client_params": {},
                },
                unaddressed=frozenset({"opened", "clicked"}),
            ),
        ),
        ESP(
            "brevo",
            "Brevo",
            (_key("api_key", hint=_("Enter a version 3 API key, not the SMTP key.")),),
            url="https://api.brevo.com/v3/",
            fixed=_NO_WORKAROUND_CHANGES | {"prevent_header_encoding_bugs": True},
            webhook=Webhook(
                "BrevoTrackingWebhookView",
                _("Transactional, Settings, Webhook: add this address, with the events you want."),
            ),
        ),
        ESP(
            "mailersend",
            "MailerSend",
            (_key("api_token", _("API token")),),
            url="https://api.mailersend.com/v1/",
            fixed={"batch_send_mode": None},
            returns_metadata=False,
            webhook=Webhook(
                "MailerSendTrackingWebhookView",
                _(
                    "Domains, Manage, Webhooks: add this address, then enter its signing secret "
                    "here."
                ),
                key="signing_secret",
                key_label=_("Signing secret"),
                needs_key=True,
            ),
        ),
        ESP(
            "mailgun",
            "Mailgun",
            (
                _key("api_key", hint=_("Enter an API key or a domain's sending key.")),
                _at(
                    ("https://api.mailgun.net/v3", _("United States")),
                    ("https://api.eu.mailgun.net/v3", _("European Union")),
                ),
                Option(
                    "sender_domain",
                    _("Sending domain"),
                    is_required=False,
                    kind="domain",
                    hint=_(
                        "A domain of your Mailgun account. Leave empty to use the sender's domain."
                    ),
                ),
            ),
            webhook=Webhook(
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
        ),
        ESP(
            "mailjet",
            "Mailjet",
            (Option("api_key", _("API key")), _key("secret_key", _("Secret key"))),
            url="https://api.mailjet.com/v3.1/",
            webhook=Webhook(
                "MailjetTrackingWebhookView",
                _(
                    "Account settings, Event notifications: enter this address for each event you "
                    "want."
                ),
            ),
        ),
        ESP(
            "mailtrap",
            "Mailtrap",
            (
                _key("api_token", _("API token")),
                Option(
                    "sandbox_id",
                    _("Sandbox ID"),
                    is_required=False,
                    hint=_(
                        "If you enter an ID, all email goes to that sandbox and is not delivered."
                    ),
                ),
            ),
            webhook=Webhook(
                "MailtrapTrackingWebhookView",
                _(
                    "Settings, Webhooks: add this address in the JSON format, then enter its "
                    "secret here."
                ),
                key="tracking_secret",
                key_label=_("Signature secret"),
            ),
        ),
        ESP(
            "mandrill",
            "Mailchimp Transactional (Mandrill)",
            (_key("api_key"),),
            url="https://mandrillapp.com/api/1.0",
            webhook=Webhook(
                "MandrillCombinedWebhookView",
                _(
                    "Settings, Webhooks: add this address, exactly as it was shown with its "
                    "secret, then enter the key of the webhook here."
                ),
                key="webhook_key",
                key_label=_("Webhook key"),
                needs_key=True,
                url_option="webhook_url",
            ),
        ),
        ESP(
            "postal",
            "Postal",
            (
                Option(
                    "api_url",
                    _("API URL"),
                    kind="url",
                    hint=_("For example https://postal.example.com."),
                ),
                _key("api_key"),
            ),
            returns_metadata=False,
            webhook=Webhook(
                "PostalTrackingWebhookView",
                _(
                    "Webhooks: add this address. The public key is what follows p= in the server's "
                    "DKIM record."
                ),
                key="webhook_key",
                key_label=_("Public key"),
                needs_key=True,
                is_public_key=True,
            ),
        ),
        ESP(
            "postmark",
            "Postmark",
            (
                _key("server_token", _("Server API token")),
                Option(
                    "message_stream",
                    _("Message stream"),
                    is_required=False,
                    hint=_("Leave empty to use the server's transactional stream."),
                ),
            ),
            url="https://api.postmarkapp.com/",
            fixed={"use_bulk_api": False, "generate_message_id": False},
            webhook=Webhook(
                "PostmarkTrackingWebhookView",
                _(
                    "Servers, Message streams, Webhooks: add this address, with the events you "
                    "want."
                ),
            ),
        ),
        ESP(
            "resend",
            "Resend",
            (_key("api_key"),),
            url="https://api.resend.com/",
            fixed={"verify_attachment_extensions": True},
            webhook=Webhook(
                "ResendTrackingWebhookView",
                _("Webhooks: add this address, then enter its signing secret here."),
                key="signing_secret",
                key_label=_("Signing secret"),
                unaddressed=None,
            ),
        ),
        ESP(
            "scaleway",
            "Scaleway",
            (
                _key("secret_key", _("Secret key")),
                Option("project_id", _("Project ID")),
                Option(
                    "region",
                    _("Region"),
                    default="fr-par",
                    choices=(("fr-par", _("Paris")),),
                ),
            ),
            url="https://api.scaleway.com/transactional-email/v1alpha1/regions/{region}/",
            returns_metadata=False,
        ),
        ESP(
            "sendgrid",
            _("SendGrid (no longer supported by django-anymail)"),
            (
                _key("api_key"),
                _at(
                    ("https://api.sendgrid.com/v3/", _("Global")),
                    ("https://api.eu.sendgrid.com/v3/", _("European Union")),
                ),
            ),
            hint=_(
                "This still works, but django-anymail no longer tests it. Unless you need "
                "provider features, use SMTP with the SendGrid preset."
            ),
            fixed={
                # Empty, not None: for None, the project's setting would be used.
                "username": "",
                "password": "",
                "generate_message_id": True,
                "merge_field_format": None,
            },
            webhook=Webhook(
                "SendGridTrackingWebhookView",
                _(
                    "Settings, Mail settings, Event webhooks: add this address, turn on the signed "
                    "event webhook, then enter its verification key here."
                ),
                key="tracking_webhook_verification_key",
                key_label=_("Verification key"),
                is_public_key=True,
            ),
        ),
        ESP(
            "sparkpost",
            "SparkPost",
            (
                _key("api_key"),
                _at(
                    ("https://api.sparkpost.com/api/v1/", _("United States")),
                    ("https://api.eu.sparkpost.com/api/v1/", _("European Union")),
                ),
                Option("subaccount", _("Subaccount"), is_required=False),
            ),
            webhook=Webhook(
                "SparkPostTrackingWebhookView",
                _(
                    "Webhooks: add this address with the events you want, and use the user name "
                    "and password shown here for basic authentication."
                ),
                options={"track_initial_open_as_opened": False},
            ),
        ),
        ESP(
            "unisender_go",
            "Unisender Go",
            (
                Option(
                    "api_url",
                    _("API URL"),
                    kind="url",
                    hint=_("Copy it from your Unisender Go account."),
                ),
                _key("api_key"),
            ),
            fixed=_NO_WORKAROUND_CHANGES | {"generate_message_id": True},
            webhook=Webhook(
                "UnisenderGoTrackingWebhookView",
                _("Webhooks: add this address. Events are signed with the project's API key."),
                key="api_key",
                key_label=_("API key"),
                needs_key=True,
                test_methods=("GET",),
            ),
        ),
    )
}

#: Email providers that can be self-hosted, perhaps with a certificate of a private authority.
SELF_HOSTED = tuple(
    provider.slug
    for provider in PROVIDERS.values()
    if any(option.kind == "url" and not option.choices for option in provider.options)
)


def label(slug: str) -> str:
    """The display name of a transport."""
    provider = PROVIDERS.get(slug)
    return str(provider.label) if provider else slug.upper()


def field_name(slug: str, option: str) -> str:
    """The name of the form field for an option."""
    return f"provider_{slug}_{option}"


#: Amazon has no email service in China.
_AWS_REGION = re.compile(r"(?!cn-)[a-z]{2}(-[a-z]+)+-\d{1,2}\Z")
_WORD = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")


@dataclass(frozen=True)
class ESPConfig:
    """Everything an email provider's transport needs, including keys; never stored."""

    name: str
    slug: str
    options: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    timeout: float = 10
    ca_certificates: str = ""
    #: Always empty: an email provider has no username that could be the sender.
    username: str = ""
    #: Only SMTP servers have these; here for the common interface.
    tokens: ClassVar[None] = None
    is_standard_server: ClassVar[bool] = False

    @property
    def provider(self) -> ESP:
        """Its entry in the catalog."""
        return PROVIDERS[self.slug]

    @cached_property
    def url(self) -> str:
        """Its API's URL."""
        if self.slug == "mailtrap":
            sandbox = self.options.get("sandbox_id")
            return f"https://{'sandbox' if sandbox else 'send'}.api.mailtrap.io/api/"
        return self.options.get("api_url") or self.provider.url.format(**self.options)

    @property
    def host(self) -> str:
        """Its API's host name."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Its API's port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def encryption(self) -> str:
        """``ssl``, or ``none`` for http."""
        return "ssl" if urlsplit(self.url).scheme == "https" else "none"


def problems(item: SettingsSetConfig) -> Iterator[Problem]:
    """Yield the problems of a set's email provider and its non-secret options."""
    if not item.uses_esp:
        return
    provider = PROVIDERS.get(item.transport)
    if provider is None:
        yield Problem(_("This email provider is not supported."), "transport", item.name)
        return
    if not provider.is_installed:
        text = _("%(provider)s needs django-anymail. Ask a developer to run: %(command)s")
        values = {"provider": provider.label, "command": INSTALL}
        yield Problem(text % values, "transport", item.name)
    known = {option.name for option in provider.options if not option.is_secret}
    for name in sorted(item.provider.keys() - known):
        yield Problem(_("Unknown option: %s") % name, "transport", item.name)
    for option in provider.options:
        if option.is_secret:
            continue
        if wrong := _wrong(option, str(item.provider.get(option.name, ""))):
            yield Problem(wrong, field_name(item.transport, option.name), item.name)


def _wrong(option: Option, value: str) -> Any:
    """Return what is wrong with a value; empty if it is valid."""
    if not value:
        return _("This email provider requires a value.") if option.is_required else ""
    if option.choices:
        return "" if value in dict(option.choices) else _("Choose a value from the list.")
    if option.kind == "url":
        return _wrong_url(value)
    if option.kind == "domain":
        return "" if is_host(value) else _("Enter only a domain, for example mg.example.com.")
    if option.kind == "region":
        return "" if _AWS_REGION.match(value) else _("Enter a region, for example eu-west-1.")
    # It is sent in headers and URLs.
    return "" if _WORD.match(value) else _("Enter only letters, digits and - _ . :")


def _wrong_url(value: str) -> Any:
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("https", "http") or not is_host(host) or "@" in parts.netloc:
        return _("Enter a URL, for example https://postal.example.com.")
    if parts.query or parts.fragment or not value.isprintable() or " " in value:
        return _("Enter a URL without a query, for example https://postal.example.com.")
    if parts.scheme == "http" and not may_log_in_without_tls(host):
        return _(
            "Use https, or others could read the key. Only a server on this machine can be used "
            "without it."
        )
    return ""
