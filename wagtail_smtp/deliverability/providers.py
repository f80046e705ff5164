"""What email providers document about the DNS of their customers' domains.

A table only. A DKIM selector is listed only if it is the same for all customers, or the documented
default; selectors are never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wagtail_smtp.config.values import SettingsSetConfig


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that sends for its customers' domains.

    Attributes:
        slug: an email provider's as in a set's ``transport``, else a server preset's.
        hosts: the domains of its SMTP servers.
        spf: the domains to include; one of them is enough, and the first is proposed.
        has_own_bounces: whether bounces go to a domain of the provider or to a subdomain that it
            has set up, so that SPF of the sender's domain isn't used.
        selectors: its DKIM selectors, with the target if the record is a CNAME that follows from
            the domain. ``{domain}``, ``{dashed}`` (the domain with hyphens) and the set's options
            are filled in.
        own_domains: the provider's own domains with mailboxes, which only it sends for.
    """

    slug: str
    name: str
    hosts: tuple[str, ...]
    spf: tuple[str, ...] = ()
    has_own_bounces: bool = False
    selectors: Mapping[str, str] = field(default_factory=dict, hash=False)
    own_domains: tuple[str, ...] = ()


PROVIDERS = (
    Provider(
        "google",
        "Google",
        ("gmail.com",),
        ("_spf.google.com",),
        selectors={"google": ""},
        own_domains=("gmail.com", "googlemail.com"),
    ),
    Provider(
        "microsoft",
        "Microsoft 365",
        ("office365.com", "outlook.com"),
        ("spf.protection.outlook.com",),
        selectors={"selector1": "", "selector2": ""},
        own_domains=("outlook.com", "hotmail.com", "live.com"),
    ),
    Provider("amazon_ses", "Amazon SES", ("amazonaws.com",), has_own_bounces=True),
    Provider(
        "brevo",
        "Brevo",
        ("brevo.com", "sendinblue.com"),
        has_own_bounces=True,
        selectors={"brevo1": "b1.{dashed}.dkim.brevo.com", "brevo2": "b2.{dashed}.dkim.brevo.com"},
    ),
    Provider(
        "mailersend",
        "MailerSend",
        ("mailersend.net",),
        ("_spf.mailersend.net",),
        has_own_bounces=True,
        selectors={"mlsend2": "mlsend2._domainkey.mailersend.net"},
    ),
    Provider("mailgun", "Mailgun", ("mailgun.org",), ("mailgun.org", "eu.mailgun.org")),
    Provider(
        "mailjet",
        "Mailjet",
        ("mailjet.com",),
        ("spf.mailjet.com",),
        has_own_bounces=True,
        selectors={"mailjet": ""},
    ),
    Provider(
        "mailtrap",
        "Mailtrap",
        ("smtp.mailtrap.io", "smtp.mailtrap.live"),
        ("_spf.smtp.mailtrap.live",),
        has_own_bounces=True,
        selectors={
            "rwmt1": "rwmt1.dkim.smtp.mailtrap.live",
            "rwmt2": "rwmt2.dkim.smtp.mailtrap.live",
        },
    ),
    Provider(
        "mandrill",
        "Mailchimp Transactional",
        ("mandrillapp.com",),
        has_own_bounces=True,
        selectors={"mte1": "dkim1.mandrillapp.com", "mte2": "dkim2.mandrillapp.com"},
    ),
    Provider("postmark", "Postmark", ("postmarkapp.com",), has_own_bounces=True),
    Provider("resend", "Resend", ("resend.com",), has_own_bounces=True, selectors={"resend": ""}),
    Provider(
        "scaleway",
        "Scaleway",
        ("tem.scaleway.com",),
        ("_spf.tem.scaleway.com",),
        has_own_bounces=True,
        selectors={"{project_id}": ""},
    ),
    Provider(
        "sendgrid",
        "SendGrid",
        ("sendgrid.net",),
        has_own_bounces=True,
        selectors={"s1": "", "s2": ""},
    ),
    Provider("sparkpost", "SparkPost", ("sparkpostmail.com",), has_own_bounces=True),
    Provider(
        "unisender_go",
        "Unisender Go",
        ("unisender.ru",),
        has_own_bounces=True,
        selectors={"us": ""},
    ),
    Provider(
        "zoho",
        "Zoho Mail",
        ("zoho.com", "zoho.eu", "zoho.in", "zoho.com.au", "zoho.jp"),
        ("zohomail.com", "zohomail.eu", "zoho.com", "zoho.eu", "one.zoho.com", "one.zoho.eu"),
    ),
    Provider(
        "fastmail",
        "Fastmail",
        ("fastmail.com", "messagingengine.com"),
        ("spf.messagingengine.com",),
        selectors={f"fm{n}": f"fm{n}.{{domain}}.dkim.fmhosted.com" for n in (1, 2, 3)},
        own_domains=("fastmail.com", "fastmail.fm"),
    ),
    Provider(
        "icloud",
        "iCloud Mail",
        ("mail.me.com",),
        ("icloud.com",),
        selectors={"sig1": "sig1.dkim.{domain}.at.icloudmailadmin.com"},
        own_domains=("icloud.com", "me.com", "mac.com"),
    ),
    Provider(
        "yahoo",
        "Yahoo Mail",
        ("mail.yahoo.com",),
        own_domains=("yahoo.com", "ymail.com", "rocketmail.com"),
    ),
    Provider("ovh", "OVHcloud", ("ovh.net",), ("mx.ovh.com",)),
    Provider("infomaniak", "Infomaniak", ("infomaniak.com",), ("spf.infomaniak.ch",)),
)
_BY_SLUG = {provider.slug: provider for provider in PROVIDERS}


def owner_of(domain: str) -> Provider | None:
    """Return the provider that a domain with everyone's mailboxes belongs to."""
    return next((each for each in PROVIDERS if domain in each.own_domains), None)


def provider_of(item: SettingsSetConfig, host: str) -> Provider | None:
    """Return the provider that sends a set's email; None for a server that isn't known.

    A self-hosted email provider is not known either.
    """
    if item.uses_esp:
        return _BY_SLUG.get(item.transport)
    host = host.lower().rstrip(".")
    return next((each for each in PROVIDERS if _is_in(host, each.hosts)), None)


def _is_in(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
