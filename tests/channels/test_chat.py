"""Apprise's URLs: which are allowed, and that their secrets are never shown."""

import logging
import sys

import pytest
from django.views.debug import ExceptionReporter

from tests.support.servers.receiver import Receiver
from wagtail_smtp import alerts
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.channels import channel, chat, services
from wagtail_smtp.channels.services import Service
from wagtail_smtp.conf import ALERTS_VARIABLE, conf, hide_urls
from wagtail_smtp.models import Alert

#: Complete URLs, with secrets that no service would accept.
VALID = {
    "slack://T1JJ3T3L2/A1BRTD4JD/canaryTIiajkdnlazkcOXrIdevi7FQ/#alerts": "Slack",
    "discord://4174216298/canaryJHMHI8qBe7bk2ZwO5U711o3dV_js": "Discord",
    "ntfys://canary-topic": "ntfy",
    "workflows://prod-1.westeurope.logic.azure.com/643e69f83c8944/canarysignature0000000000000/": (
        "Microsoft Teams"
    ),
    "matrixs://user:canary@matrix.example.com/#room": "Matrix",
    "pagerduty://canaryintegrationkey@canaryapikey/Site/Email": "PagerDuty",
    "tgram://123456789:canaryabcdefghijklmnopqrstuvwxyz1/12315544/": "Telegram",
    "jsons://user:canary@example.com/path": "Webhook",
    "gotifys://gotify.example.com/canarytoken": "Gotify",
    "mmosts://mattermost.example.com/canarytoken3ff7a8": "Mattermost",
    "twilio://AC735c307c62944b5a:canarye29dfbcebef390dee9@+15555555555/+15555555556": "Twilio",
}
#: URLs that are refused: of email, of programs and of what is on the machine.
REFUSED = [
    "mailto://user:canary@example.com",
    "sendgrid://canary:from@example.com",
    "ses://user@example.com/canary/canary/us-east-1/",
    "mailgun://user@example.com/canary",
    "syslog://",
    "dbus://",
    "gnome://",
    "macosx://",
    "windows://",
    "mqtt://user:canary@localhost/topic",
    "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/canary",
    "file:///etc/passwd",
    "canary",
    "",
]


@pytest.mark.parametrize("url", VALID)
def test_services(url, caplog):
    caplog.set_level(1)
    chat.load(url)
    assert services.service_of(url).label == VALID[url]
    assert "canary" not in caplog.text


@pytest.mark.parametrize("url", REFUSED)
def test_others_are_refused(url, caplog):
    caplog.set_level(1)
    with pytest.raises(chat.InvalidURL) as caught:
        chat.load(url)
    assert "canary" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    "url", ["slack://canary", "discord://canary", "twilio://canary", "tgram://canary"]
)
def test_incomplete_urls_are_refused(url, caplog):
    caplog.set_level(1)
    with pytest.raises(chat.InvalidURL) as caught:
        chat.load(url)
    assert "canary" not in str(caught.value) + caplog.text


def test_no_other_plugins_are_imported():
    chat.load("ntfys://topic")
    assert "apprise.plugins.syslog" not in sys.modules
    assert "apprise.plugins.email" not in sys.modules


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda each: each.label)
def test_each_service_is_apprises(service):
    for scheme in service.schemes:
        assert chat._plugin(service, scheme)


@pytest.mark.parametrize(
    "url",
    [
        "ntfy://127.0.0.1:{port}/topic?mode=private",
        "gotify://127.0.0.1:{port}/canarytoken",
        "mmost://127.0.0.1:{port}/canarytoken3ff7a8",
        "synology://127.0.0.1:{port}/canarytoken",
        "json://127.0.0.1:{port}/path",
    ],
)
def test_no_service_gets_a_command(db, receiver, configure, url):
    """In whatever format it has."""
    configure(ALERTS=[url.format(port=receiver.port)])
    subject = "Hi @everyone <!channel> [Click](https://evil.example) **bold**"
    alerts.report(AlertKind.GIVEN_UP, "one", subject, f"{subject}\n<b>@here</b>")
    [alert] = Alert.objects.all()
    assert [each["state"] for each in alert.outcomes.values()] == ["sent"]
    sent = receiver.bodies[-1]
    assert "evil.example" in sent
    for command in ("@everyone", "@here", "<!channel>", "](", "**", "<b>@"):
        assert command not in sent


def test_secrets_are_never_logged(db, receiver, caplog, admins):
    """At no level, by no library, whether it works or not."""
    caplog.set_level(1)
    for name in ("urllib3", "urllib3.connectionpool", "requests", "apprise"):
        logging.getLogger(name).setLevel(1)
    try:
        alerts.report(AlertKind.WAITING, "one", "Subject", "Text")
        receiver.status = 500
        alerts.report(AlertKind.WAITING, "two", "Subject", "Text")
        receiver.status, receiver.location = 302, "http://127.0.0.1:1/canary"
        alerts.report(AlertKind.WAITING, "three", "Subject", "Text")
    finally:
        for name in ("urllib3", "urllib3.connectionpool", "requests", "apprise"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert len(receiver.received) == 3
    assert "canary" in "".join(receiver.paths)
    assert "canary" not in caplog.text
    assert "canary" not in repr(list(Alert.objects.values()))
    assert "canary" not in repr(channel.channels())


def test_what_the_project_logs_itself_is_still_logged(db, receiver, caplog):
    caplog.set_level(logging.INFO)
    alerts.report(AlertKind.WAITING, "one", "Subject", "Text")
    logging.getLogger("apprise").warning("The project's own")
    assert "The project's own" in caplog.text


def test_no_server_listens(db, configure, caplog):
    caplog.set_level(1)
    with Receiver() as receiver:
        url = receiver.apprise_url
    configure(ALERTS=[url])
    alerts.report(AlertKind.WAITING, "one", "Subject", "Text")
    assert Alert.objects.get().outcomes["custom_json"]["state"] == "failed"
    assert "canary" not in caplog.text


def test_the_variable_takes_precedence(configure, monkeypatch):
    configure(ALERTS=["ntfy://one"])
    monkeypatch.setenv(
        ALERTS_VARIABLE, "slack://a/b/c/#one,#two, ntfys://topic\n  json://example.com "
    )
    assert conf.alert_urls() == ("slack://a/b/c/#one,#two", "ntfys://topic", "json://example.com")
    assert [each.name for each in channel.channels()] == ["slack", "ntfy", "custom_json"]
    monkeypatch.setenv(ALERTS_VARIABLE, "")
    assert channel.channels() == []


def test_two_channels_of_a_service_have_different_names(configure):
    configure(ALERTS=["ntfy://one", "ntfy://two"])
    assert [(each.name, each.label) for each in channel.channels()] == [
        ("ntfy", "ntfy"),
        ("ntfy-2", "ntfy (2)"),
    ]
    assert channel.label_of("ntfy-2") == "ntfy (2)"


@pytest.mark.parametrize(
    "value", [["slack://canary/b/c"], ("slack://canary/b/c",), "slack://canary"]
)
def test_error_reports_show_no_secrets(configure, value):
    """Django emails them to ADMINS with all settings, and in HTML with all variables."""
    configure(ALERTS=value)
    hide_urls()
    try:
        urls = conf.alert_urls()
        raise ValueError(len(urls))
    except Exception:
        report = ExceptionReporter(None, *sys.exc_info(), is_email=True)
    text = report.get_traceback_text() + report.get_traceback_html()
    assert "WAGTAIL_SMTP" in text
    shown = [line for line in text.splitlines() if "canary" in line and "parametrize" not in line]
    # The test's own arguments and lines aren't hidden.
    assert [line for line in shown if "ALERTS" in line or "urls" in line] == []


def test_hiding_changes_no_url(configure):
    configure(ALERTS=["slack://canary/b/c"])
    hide_urls()
    assert conf.alert_urls() == ("slack://canary/b/c",)
    assert f"{conf.alert_urls()[0]}" == "slack://canary/b/c"


def test_a_setting_of_the_wrong_type_leaves_email(db, configure, admins, mailoutbox):
    configure(ALERTS="slack://canary/b/c")
    alerts.report(AlertKind.WAITING, "one", "Subject", "Text")
    assert [message.subject for message in mailoutbox] == ["[Django] Subject"]


def test_a_service_that_apprise_has_no_longer():
    with pytest.raises(chat.InvalidURL):
        chat._plugin(Service("Gone", "gone", ("gone",)), "gone")


def test_a_name_with_line_breaks(db, receiver, admins, mailoutbox):
    """A settings set may be called so; an email's subject can't."""
    alerts.report(AlertKind.WAITING, "one", "Of \n“a\r\nb”", "Text")
    assert [message.subject for message in mailoutbox] == ["[Django] Of “a b”"]
    assert Alert.objects.get().outcomes["email"]["state"] == "sent"
