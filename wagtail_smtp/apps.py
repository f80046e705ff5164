"""App configuration: registers checks and connects receivers."""

from django.apps import AppConfig
from django.core.signals import request_finished, request_started
from django.utils.translation import gettext_lazy as _


class WagtailSMTPConfig(AppConfig):
    """The wagtail-smtp app."""

    name = "wagtail_smtp"
    label = "wagtail_smtp"
    verbose_name = _("Email")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and connect the signals."""
        from wagtail_smtp import alerts, checks, signals
        from wagtail_smtp.channels import courier, reloads
        from wagtail_smtp.conf import hide_urls
        from wagtail_smtp.live import consents
        from wagtail_smtp.maintenance import conditions, periodic, retention, usage
        from wagtail_smtp.outbox import tasks
        from wagtail_smtp.runtime import process, tracing
        from wagtail_smtp.summary import sending

        hide_urls()
        checks.register_all()
        request_started.connect(process.begin_request, dispatch_uid="wagtail_smtp")
        request_finished.connect(process.end_request, dispatch_uid="wagtail_smtp")
        process.warn_without_threads()
        alerts.connect()
        courier.connect()
        reloads.connect()
        periodic.connect()
        retention.connect()
        conditions.connect()
        usage.connect()
        periodic.add_task(periodic.Task("alerts", 60, courier.take_over))
        sending.connect()
        if tracing.IS_INSTALLED:
            from wagtail_smtp import metrics

            metrics.connect()
        signals.outbox_idle.connect(consents.renew_when_idle, dispatch_uid="wagtail_smtp.consents")
        signals.configuration_reloaded.connect(
            tasks.run_after_reload, dispatch_uid="wagtail_smtp.outbox"
        )
