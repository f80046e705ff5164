"""The panels of a settings set's form, in their order."""

from django.utils.translation import gettext_lazy
from wagtail.admin.panels import FieldPanel, FieldRowPanel, InlinePanel, MultiFieldPanel, ObjectList

from wagtail_smtp.admin.notify_user_chooser import NotifyUserViewSet
from wagtail_smtp.admin.sets.esp_form import ESP_PANEL, FOR, FOR_SMTP, SMTP
from wagtail_smtp.admin.sets.form import SettingsSetForm
from wagtail_smtp.admin.sets.oauth_form import LOGIN, OAUTH_PANEL
from wagtail_smtp.admin.sets.webhook import TrackingPanel
from wagtail_smtp.config.validation import WITH_MAILBOX
from wagtail_smtp.config_files.sets_file import manager
from wagtail_smtp.transports.esp.catalog import SELF_HOSTED

#: The kinds of authentication with which the mailbox can be read.
_WITH_LOGIN = {LOGIN: " ".join(WITH_MAILBOX)}


class RequiredPanel(FieldPanel):
    """Mark a field as required, although the form doesn't require it while it is hidden."""

    class BoundPanel(FieldPanel.BoundPanel):
        def is_required(self):
            return True


class ReportEmailsPanel(InlinePanel):
    """The report emails; nothing if there are none and none can be added."""

    class BoundPanel(InlinePanel.BoundPanel):
        def is_shown(self):
            return bool(self.children) or not manager(self.instance)


class SiteSendersPanel(InlinePanel):
    """The senders of sites; nothing in a project with one site."""

    class BoundPanel(InlinePanel.BoundPanel):
        def is_shown(self):
            return bool(self.children) or (self.form.offers_sites and not manager(self.instance))


EDIT_HANDLER = ObjectList(
    [
        FieldPanel("name"),
        FieldPanel("enabled"),
        MultiFieldPanel(
            [
                FieldPanel("transport"),
                FieldPanel("preset", attrs=FOR_SMTP),
                RequiredPanel("host", attrs=FOR_SMTP),
                FieldRowPanel(
                    [
                        FieldPanel("port", attrs=FOR_SMTP),
                        FieldPanel("encryption", attrs=FOR_SMTP),
                        FieldPanel("timeout"),
                    ]
                ),
            ],
            heading=gettext_lazy("Server"),
        ),
        ESP_PANEL,
        MultiFieldPanel(
            [
                FieldPanel("authentication"),
                RequiredPanel("username", attrs={LOGIN: "password default oauth2"}),
                FieldPanel("password", attrs={LOGIN: "password default"}),
                FieldPanel("remove_password"),
            ],
            heading=gettext_lazy("Credentials"),
            attrs=FOR_SMTP,
        ),
        OAUTH_PANEL,
        MultiFieldPanel(
            [
                FieldPanel("sender_name"),
                FieldPanel("sender_address"),
                SiteSendersPanel(
                    "site_senders",
                    heading=gettext_lazy("Senders of sites"),
                    label=gettext_lazy("Site sender"),
                    help_text=gettext_lazy(
                        "Used instead of the sender above for email of these sites."
                    ),
                ),
                FieldPanel("always_use_sender"),
            ],
            heading=gettext_lazy("Sender"),
        ),
        MultiFieldPanel(
            [
                FieldPanel("bounce_address"),
                FieldPanel("bounce_separator"),
                FieldPanel("mailbox_host", attrs=_WITH_LOGIN),
                FieldRowPanel(
                    [
                        FieldPanel("mailbox_port", attrs=_WITH_LOGIN),
                        FieldPanel("mailbox_encryption", attrs=_WITH_LOGIN),
                        FieldPanel("mailbox_folder", attrs=_WITH_LOGIN),
                    ]
                ),
            ],
            heading=gettext_lazy("Bounces"),
            classname="collapsed",
            attrs=FOR_SMTP,
        ),
        MultiFieldPanel(
            [
                FieldPanel("redirect"),
                ReportEmailsPanel("report_emails", label=gettext_lazy("Report email")),
            ],
            heading=gettext_lazy("Redirection"),
        ),
        MultiFieldPanel(
            [FieldPanel("categories"), FieldPanel("sites"), FieldPanel("backup")],
            heading=gettext_lazy("Routing"),
        ),
        MultiFieldPanel(
            [
                FieldPanel("max_per_second"),
                FieldPanel("max_per_minute"),
                FieldPanel("max_per_hour"),
                FieldPanel("max_per_day"),
            ],
            heading=gettext_lazy("Sending limits"),
            help_text=gettext_lazy(
                "The limits of your email provider. Leave a field empty for no limit. Each "
                "recipient of a message counts. Once a limit is reached, the next set that applies "
                "is used, even if it is not a backup. If there is none, queued email waits."
            ),
            classname="collapsed",
        ),
        MultiFieldPanel(
            [
                FieldPanel("ca_certificates", attrs={FOR: " ".join((SMTP, *SELF_HOSTED))}),
                FieldPanel("ehlo_name", attrs=FOR_SMTP),
                FieldPanel("ignored_extensions", attrs=FOR_SMTP),
                FieldPanel("max_size"),
                FieldPanel("notify_user", widget=NotifyUserViewSet().widget_class),
            ],
            heading=gettext_lazy("More settings"),
            classname="collapsed",
        ),
        TrackingPanel(
            heading=gettext_lazy("Delivery tracking"),
            help_text=gettext_lazy(
                "The email provider can tell this site whether a message was delivered or bounced. "
                "The delivery log shows it on the message's entry."
            ),
        ),
    ],
    base_form_class=SettingsSetForm,
    attrs={"data-controller": "wsmtp-set-form"},
)
