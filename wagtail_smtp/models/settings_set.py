"""A settings set as saved in the admin, which may differ from the live one."""

import itertools
import uuid
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _
from modelcluster.models import ClusterableModel
from wagtail.models import Site

from wagtail_smtp.config import validation
from wagtail_smtp.config import values as config_values
from wagtail_smtp.models.configuration import ReportEmail, SiteSender, StagedModel
from wagtail_smtp.models.secret import Secret

#: The highest limit: PostgreSQL's integers, which are smaller than SQLite's, can hold it.
_HIGHEST_LIMIT = 1_000_000_000


def _limit(label: Any, help_text: Any) -> Any:
    """A field for the number of recipients that a set may send to in a period."""
    return models.PositiveIntegerField(
        label,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(_HIGHEST_LIMIT)],
        help_text=help_text,
    )


class SettingsSet(StagedModel, ClusterableModel):
    """One row of *SMTP settings*: a server, credentials, sender and redirection."""

    class Encryption(models.TextChoices):
        STARTTLS = "starttls", _("STARTTLS")
        SSL = "ssl", _("SSL/TLS")
        NONE = "none", _("None")

    class Authentication(models.TextChoices):
        NONE = "none", _("None")
        PASSWORD = "password", _("Username and password")
        DEFAULT = "default", _("Default credentials")
        OAUTH2 = "oauth2", _("OAuth 2")

    class BounceSeparator(models.TextChoices):
        NONE = "", _("No")
        PLUS = "+", _("Yes, after +")
        HYPHEN = "-", _("Yes, after -")
        EQUALS = "=", _("Yes, after =")

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    #: Identifies the set in files, in every environment; made from the first name.
    slug = models.SlugField(max_length=50, unique=True, editable=False)
    #: The file that manages the set; empty: it is managed in the admin.
    managed_by = models.CharField(max_length=255, blank=True, default="", editable=False)
    name = models.CharField(
        _("name"),
        max_length=100,
        help_text=_("A name that helps you recognise it, e.g. “Office 365”."),
    )
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Disabled sets are kept but not used.")
    )
    sort_order = models.IntegerField(null=True, blank=True, editable=False)

    transport = models.CharField(
        _("transport"),
        max_length=32,
        default="smtp",
        help_text=_("An SMTP server, or an email provider's API."),
    )
    #: The email provider's options, except secrets, named as in its backend.
    provider = models.JSONField(_("provider options"), default=dict, blank=True)

    host = models.CharField(
        _("network host"),
        max_length=253,
        blank=True,
        help_text=_("The server's name, e.g. smtp.example.com."),
    )
    port = models.PositiveIntegerField(
        _("port"),
        default=587,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("Usually 587 for STARTTLS and 465 for SSL/TLS."),
    )
    encryption = models.CharField(
        _("encryption"),
        max_length=16,
        choices=Encryption.choices,
        default=Encryption.STARTTLS,
        help_text=_(
            "STARTTLS and SSL/TLS encrypt the connection and check the server's certificate; "
            "they never fall back to plain text."
        ),
    )
    timeout = models.PositiveSmallIntegerField(
        _("timeout"),
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(300)],
        help_text=_("Seconds to wait for the server at each step."),
    )
    ehlo_name = models.CharField(
        _("EHLO name"),
        max_length=253,
        blank=True,
        help_text=_("The name this site gives the server. Leave empty to use this machine's name."),
    )
    ignored_extensions = models.JSONField(
        _("extensions to ignore"),
        default=list,
        blank=True,
        help_text=_(
            "Only for a server that offers an extension but fails when it is used. The selected "
            "extensions are never used. PIPELINING and CHUNKING make sending faster."
        ),
    )
    ca_certificates = models.TextField(
        _("certificates of a private authority"),
        blank=True,
        help_text=_(
            "Only for a server whose certificate is signed by a private authority: paste the "
            "authority's certificate in PEM format."
        ),
    )

    authentication = models.CharField(
        _("authentication"),
        max_length=16,
        choices=Authentication.choices,
        default=Authentication.PASSWORD,
        help_text=_("How this site logs in to the server."),
    )
    username = models.CharField(
        _("username"), max_length=254, blank=True, help_text=_("Often the full email address.")
    )
    secret = models.ForeignKey(
        Secret, null=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )

    #: OAuth 2 options, except secrets: tenant, client, URLs, scopes.
    oauth = models.JSONField(_("OAuth 2"), default=dict, blank=True)
    #: Authenticates the email provider's webhook (delivery tracking).
    webhook_secret = models.ForeignKey(
        Secret, null=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )

    sender_name = models.CharField(
        _("sender name"),
        max_length=150,
        blank=True,
        help_text=_("Name shown to recipients, unless the message sets its own sender."),
    )
    sender_address = models.CharField(
        _("sender address"),
        max_length=254,
        blank=True,
        help_text=_(
            "Used unless the message sets its own sender. Leave empty to use the username if it "
            "is an address, otherwise the site's default address."
        ),
    )
    always_use_sender = models.BooleanField(
        _("always use this sender"),
        default=False,
        help_text=_(
            "Use this sender for every message, even if it sets its own. Replies still go to the "
            "original sender."
        ),
    )
    bounce_address = models.CharField(
        _("bounce address"),
        max_length=254,
        blank=True,
        help_text=_("Where bounces are sent. Leave empty to use the sender's address."),
    )
    bounce_separator = models.CharField(
        _("signed bounce address"),
        max_length=1,
        blank=True,
        default="",
        choices=BounceSeparator.choices,
        help_text=_(
            "Adds a signed key to the bounce address of each message, so that this site can "
            "recognise its bounces, e.g. bounces+key@example.com. Your mail server must deliver "
            "such addresses to the same mailbox; most do after +."
        ),
    )

    mailbox_host = models.CharField(
        _("mailbox server"),
        max_length=253,
        blank=True,
        help_text=_(
            "The IMAP server of the bounce address's mailbox, e.g. imap.example.com. This site "
            "logs in with this set's username and password, or OAuth 2, and changes nothing in the "
            "mailbox. Leave empty if no mailbox is to be read."
        ),
    )
    mailbox_port = models.PositiveIntegerField(
        _("mailbox port"),
        default=993,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("Usually 993 for SSL/TLS and 143 for STARTTLS."),
    )
    mailbox_encryption = models.CharField(
        _("mailbox encryption"),
        max_length=16,
        choices=Encryption.choices,
        default=Encryption.SSL,
        help_text=_("SSL/TLS and STARTTLS check the server's certificate."),
    )
    mailbox_folder = models.CharField(
        _("mailbox folder"),
        max_length=255,
        default="INBOX",
        help_text=_("Where bounces arrive. Usually INBOX."),
    )

    redirect = models.BooleanField(
        _("redirect to report email"),
        default=False,
        help_text=_(
            "For testing: every message goes to the report emails and nothing reaches its real "
            "recipients. Links in the messages still work."
        ),
    )
    categories = models.JSONField(
        _("categories"),
        default=list,
        blank=True,
        help_text=_(
            "Only use this set for the selected kinds of email. Select none to use it for all."
        ),
    )

    #: Primary keys instead of a relation: that of a deleted site stays, because an empty list
    #: stands for all sites.
    sites = models.JSONField(
        _("sites"),
        default=list,
        blank=True,
        help_text=_(
            "Only use this set for email of the selected sites. Select none to use it for all. If "
            "the first set redirects, it redirects email of all sites."
        ),
    )

    backup = models.BooleanField(
        _("backup"),
        default=False,
        help_text=_("Use this set if the ones above it fail."),
    )

    max_size = models.PositiveSmallIntegerField(
        _("max size"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "Total size of a message's attachments in MB, as sent. Files grow by about a third "
            "when sent: 10 MB is about 7 MB of files. Leave empty for no limit."
        ),
    )
    max_per_second = _limit(
        _("recipients per second"), _("E.g. 14 for Amazon SES. Email waits a moment if necessary.")
    )
    max_per_minute = _limit(_("recipients per minute"), _("E.g. 30 for Microsoft 365."))
    max_per_hour = _limit(_("recipients per hour"), _("E.g. 200 for many web hosts."))
    max_per_day = _limit(
        _("recipients per day"), _("In any 24 hours, e.g. 2000 for Google Workspace.")
    )
    notify_user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("notify user"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text=_(
            "Who is notified about messages that are too large. Leave empty for the site's ADMINS."
        ),
    )

    class Meta:
        verbose_name = _("SMTP settings set")
        verbose_name_plural = _("SMTP settings")
        ordering = ["sort_order", "pk"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="wagtail_smtp_settingsset_name",
                violation_error_message=_("Another settings set already has this name."),
            )
        ]
        permissions = [
            ("redirect_mail", _("Can redirect email (as powerful as superuser)")),
            ("send_test_email", _("Can send test emails")),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        # Report emails are validated by the form, which knows them before they are saved.
        errors: dict[str, list[str]] = {}
        for problem in validation.problems(self.frozen(reports=())):
            if problem.field != "redirect":
                errors.setdefault(problem.field, []).append(problem.message)
        if self.name and self._name_is_taken():
            errors.setdefault("name", []).append(
                str(_("Another settings set already has this name."))
            )
        if errors:
            raise ValidationError(errors)

    def _name_is_taken(self) -> bool:
        others = SettingsSet.objects.filter(name__iexact=self.name)
        if self.pk is not None:
            others = others.exclude(pk=self.pk)
        return others.exists()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.slug:
            self.slug = self._free_slug()
        super().save(*args, **kwargs)

    def _free_slug(self) -> str:
        """A slug made from the name, with a number if another set has it."""
        base = slugify(self.name)[:40].strip("-_") or "set"
        others = SettingsSet.objects.exclude(pk=self.pk).filter(slug__startswith=base)
        used = set(others.values_list("slug", flat=True))
        numbered = (f"{base}-{number}" for number in itertools.count(2))
        return next(slug for slug in itertools.chain([base], numbered) if slug not in used)

    def frozen(
        self,
        reports: Iterable[ReportEmail | config_values.ReportEmail],
        senders: Iterable[SiteSender] = (),
    ) -> config_values.SettingsSetConfig:
        """Return the set as plain values with the given report emails and senders of sites."""
        values = {name: getattr(self, name) for name in PLAIN_FIELDS}
        return config_values.SettingsSetConfig(
            key=str(self.key),
            secret=self.secret_id,
            report_emails=tuple(
                config_values.ReportEmail(report.address, report.enabled) for report in reports
            ),
            site_senders=tuple(
                config_values.SiteSender(each.site_id, each.sender_name, each.sender_address)
                for each in sorted(senders, key=lambda each: each.site_id)
            ),
            categories=tuple(self.categories),
            sites=tuple(sorted(self.sites)),
            ignored_extensions=tuple(self.ignored_extensions),
            notify_user=as_json(self.notify_user_id),
            provider=dict(self.provider),
            oauth=dict(self.oauth),
            webhook_secret=self.webhook_secret_id,
            **values,
        )

    def thaw(self, config: config_values.SettingsSetConfig) -> None:
        """Copy all values of ``config``, including report emails and senders, without saving."""
        for name in PLAIN_FIELDS:
            setattr(self, name, getattr(config, name))
        self.enabled = True
        self.secret_id = config.secret
        self.webhook_secret_id = config.webhook_secret
        self.provider, self.oauth = dict(config.provider), dict(config.oauth)
        self.categories, self.sites = list(config.categories), list(config.sites)
        self.ignored_extensions = list(config.ignored_extensions)
        # The user may have been deleted since; ADMINS are notified instead.
        users = get_user_model()._default_manager
        key = config.notify_user
        self.notify_user = users.filter(pk=key).first() if key is not None else None
        # Assigning is modelcluster's feature.
        self.report_emails = [  # type: ignore[misc]
            ReportEmail(address=report.address, enabled=report.enabled, sort_order=position)
            for position, report in enumerate(config.report_emails)
        ]
        # A site may have been deleted since.
        wanted = {sender.site: sender for sender in config.site_senders}
        kept = Site.objects.filter(pk__in=wanted).values_list("pk", flat=True) if wanted else ()
        self.site_senders = [  # type: ignore[misc]
            SiteSender(
                site_id=key, sender_name=wanted[key].name, sender_address=wanted[key].address
            )
            for key in sorted(kept)
        ]


def as_json(key: object) -> int | str | None:
    """A user's primary key as it is stored in a version's JSON."""
    return key if key is None or isinstance(key, int) else str(key)


#: Fields that ``frozen`` and ``thaw`` convert.
_CONVERTED = {
    "key",
    "secret",
    "report_emails",
    "site_senders",
    "categories",
    "sites",
    "ignored_extensions",
    "notify_user",
    "provider",
    "oauth",
    "webhook_secret",
}
#: All others have the same name and type in the set and in its plain values.
PLAIN_FIELDS = [
    item.name for item in fields(config_values.SettingsSetConfig) if item.name not in _CONVERTED
]
