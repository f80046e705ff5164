"""*Deliverability*: what the DNS of the senders' domains contains, and what to publish."""

from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import AdminPage, EmailViewSet
from wagtail_smtp.admin.labels import verdict_tag
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.config.validation import unicode_host
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.deliverability import report
from wagtail_smtp.deliverability.senders import of_set, senders
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current
from wagtail_smtp.models import DeliverySettings
from wagtail_smtp.runtime import once
from wagtail_smtp.transports.name_servers import INSTALL, is_installed

#: How many checks a user may start in a minute.
_PER_MINUTE = 5
#: What each topic is about.
_TOPICS = {
    "SPF": gettext_lazy("SPF: which servers may send"),
    "DKIM": gettext_lazy("DKIM: the key that proves signatures"),
    "DMARC": gettext_lazy("DMARC: what happens to forged email"),
    "MX": gettext_lazy("MX: replies and bounces"),
    "PTR": gettext_lazy("PTR: the name of the server"),
}


class DeliverabilityView(AdminPage, TemplateView):
    """The page. Only a POST asks name servers; a GET shows what was found in the last hour."""

    template_name = "wagtail_smtp/deliverability.html"
    page_title = gettext_lazy("Deliverability")
    header_icon = "globe"
    any_permission_required = permissions.SEE

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        context |= {"is_installed": is_installed(), "command": INSTALL}
        if not context["is_installed"]:
            return context
        overview = Overview.now()
        found = kwargs.get("report") or report.stored(overview.live)
        return context | {
            "refusal": overview.refusal,
            "has_senders": bool(senders(overview.live)),
            "checked_at": found and found.checked_at,
            "domains": [_shown(each) for each in found.domains] if found else [],
        }

    def post(self, request, *args, **kwargs):
        if not is_installed():
            return self.render_to_response(self.get_context_data())
        if once.count(f"wagtail_smtp.dns.{request.user.pk}", 60) > _PER_MINUTE:
            messages.error(request, _("You have started too many checks. Wait a minute."))
            return self.render_to_response(self.get_context_data())
        log(instance=DeliverySettings.load(), action="wagtail_smtp.check_dns")
        found = report.check(Overview.now().live)
        # Shown directly, because without a cache it can't be shown after a redirect.
        return self.render_to_response(self.get_context_data(report=found))


def _shown(domain):
    """Return what the template needs about a domain."""
    return {
        "name": unicode_host(domain.domain),
        "senders": domain.senders,
        "tag": verdict_tag(domain.verdict),
        "findings": [
            {
                "topic": finding.topic,
                "heading": _TOPICS[finding.topic],
                "tag": verdict_tag(finding.verdict),
                "notes": finding.notes,
                "found": finding.found,
                "proposals": finding.proposals,
            }
            for finding in domain.findings
        ],
    }


class DeliverabilityViewSet(EmailViewSet):
    """Registers the page."""

    name = "wagtail_smtp_deliverability"
    url_prefix = "email/deliverability"
    icon = "globe"
    menu_label = gettext_lazy("Deliverability")
    any_permission_required = permissions.SEE

    def get_urlpatterns(self):
        return [path("", self.construct_view(DeliverabilityView), name="index")]


def line_about(item: SettingsSetConfig) -> str:
    """Return the verdict on a set's sender domain in one line, from cached answers only."""
    if not is_installed():
        return ""
    try:
        known = report.stored(current().configuration)
    except ConfigurationUnavailable:
        known = None
    domains = {sender.domain for sender in of_set(item)}
    found = [each for each in known.domains if each.domain in domains] if known else []
    return " ".join(each.summary for each in found)


def domain_lines(configuration: Configuration) -> list[str]:
    """Return the verdict on each sender domain in one line, from cached answers only."""
    known = report.stored(configuration) if is_installed() else None
    return [each.summary for each in known.domains] if known else []
