"""What the summary says: the same in the text and in HTML, and nothing about a person."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone, translation

from tests.summary.conftest import last_week
from tests.support.log_entries import fill, make_entry, make_waiting
from tests.support.sites import make_sites
from wagtail_smtp.models import DeliveryEvent, LogEntry, ServerCertificate
from wagtail_smtp.summary import content, sending

SECRETS = ("Your invoice", "real@example.org", "example.org", "Shop", "550 No such user")


def _entry(number=1, *, before=False, **values):
    for _each in range(number):
        entry = make_entry(reason="550 No such user", **values)
        at = last_week(2) - timedelta(days=7 * before)
        LogEntry.objects.filter(pk=entry.pk).update(created_at=at)
    return entry


def _report(entry, kind):
    DeliveryEvent.objects.create(
        entry=entry,
        set_key=entry.set_key,
        digest=f"{entry.pk} {kind}",
        type=kind,
        happened_at=last_week(),
        created_at=last_week(3),
    )


class _Elements(HTMLParser):
    """Checks that elements are closed in order, and collects cells, attributes and text."""

    _VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.rows, self.links, self.text = [], [], {}, [], ""
        self.html = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "html":
            self.html = attributes
        if "data-row" in attributes:
            self.rows[attributes["data-row"]] = self._row = []
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if "href" in attributes:
            self.links.append(attributes["href"])
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self._row.append(data)
        if "style" not in self.open:
            self.text += data


def _message(frequency="weekly"):
    return sending.message_for(sending.collect(frequency), "ada@example.com")


def _html(message):
    [(html, kind)] = message.alternatives
    assert kind == "text/html"
    return html


@pytest.fixture
def full(db):
    """A week with something of everything."""
    pks = [row.pk for row in fill(1001)]
    LogEntry.objects.filter(pk__in=pks).update(created_at=last_week())
    _entry(3, state="sent", redirected_by="Office")
    _entry(2, state="failed", cause="too-large")
    refused = _entry(state="refused", cause="", via="Office <b>")
    _entry(5, state="sent", before=True)
    _entry(7, state="failed", before=True)
    make_waiting()
    _report(refused, "bounced")
    _report(refused, "complained")
    _report(refused, "delivered")


def test_text_and_html_have_the_same_numbers(full):
    message = _message()
    html = _Elements(_html(message))
    numbers = {
        "sent": ["1,004", "5"],
        "redirected": ["3", "0"],
        "not_sent": ["3", "7"],
        "failed": ["2", "7"],
        "refused": ["1", "0"],
        "returned": ["1", "0"],
        "complained": ["1", "0"],
    }
    assert html.rows == numbers
    found = re.findall(r"^ *[\w ,]+: ([\d,]+) \(week before: ([\d,]+)\)$", message.body, re.M)
    assert [[*pair] for pair in found] == [*numbers.values()]
    assert "1,004 sent, 3 not sent" in message.subject
    assert {"notes", "problems", "carriers"} <= {*html.ids}
    for each in ("2 messages: ", "1 message: "):
        assert each in message.body
        assert each in html.text
    assert "1 message is waiting in the outbox." in message.body


def test_links_lead_to_the_messages(full, admin_client):
    links = _Elements(_html(_message())).links
    assert all(link.startswith("http://testserver/admin/") for link in links)
    for link in links:
        response = admin_client.get(link.partition("#")[0])
        assert response.status_code == 200
    [refused] = [link for link in links if "state=refused" in link]
    page = admin_client.get(refused).content.decode()
    assert page.count('data-state="refused"') == 1
    assert 'data-state="sent"' not in page
    assert set(links) <= set(re.findall(r"http\S+", _message().body))


def test_without_the_log_there_are_no_links_to_it(full):
    period = sending.subscriptions.latest_period("weekly")
    seen = content.summary(
        period, period.figures(), period.before.figures(), may_see_log=False, is_subscribed=True
    )
    message = sending.message_for(seen, "ada@example.com")
    assert "/email/log/" not in _html(message) + message.body
    assert "#tab-notifications" in message.body


def test_without_an_address_of_the_site_there_are_no_links(full, settings):
    settings.WAGTAILADMIN_BASE_URL = None
    message = _message()
    links = _Elements(_html(message)).links
    assert all(link.startswith("https://wagtail-smtp.readthedocs.io/") for link in links)
    assert "None" not in message.body


def test_nothing_names_a_recipient_or_a_subject(full):
    message = _message()
    for text in (message.subject, message.body, _html(message)):
        assert [secret for secret in SECRETS if secret in text] == []


def test_names_are_escaped(full):
    message = _message()
    assert "Office &lt;b&gt;" in _html(message)
    assert "Office <b>" in message.body


@pytest.mark.parametrize(
    ("frequency", "text"),
    [("weekly", "No email was sent that week."), ("daily", "No email was sent that day.")],
)
def test_an_empty_log(db, frequency, text):
    message = _message(frequency)
    html = _Elements(_html(message))
    assert text in message.body
    assert "empty" in html.ids
    assert html.rows == {"sent": ["0", "0"], "not_sent": ["0", "0"]}
    assert "problems" not in html.ids


def test_it_is_in_the_active_language(full):
    with translation.override("de"):
        message = _message()
    html = _Elements(_html(message))
    assert (html.html["lang"], html.html["dir"]) == ("de", "ltr")
    assert html.rows["sent"] == ["1.004", "5"]
    with translation.override("ar"):
        html = _Elements(_html(_message()))
    assert (html.html["lang"], html.html["dir"]) == ("ar", "rtl")


def test_only_some_causes_are_listed(db):
    for number, cause in enumerate(["too-large", "outcome-unknown", "", "a", "b", "c", "d"]):
        _entry(8 - number, state="failed", cause=cause)
    message = _message()
    html = _Elements(_html(message))
    assert html.text.count("messages: ") == 5
    assert "5 messages have other causes." in html.text
    assert "5 messages have other causes." in message.body


def test_a_redirect_is_named_without_its_addresses(smtp_server, make_set, reload):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    message = _message()
    assert "All email is redirected" in message.body
    assert "qa@example.com" not in message.body + _html(message)


def test_what_expires_is_named(make_set, reload):
    make_set()
    reload()
    now = timezone.now()
    days = {"starts_at": now - timedelta(days=84), "expires_at": now + timedelta(days=6)}
    ServerCertificate.objects.create(server="127.0.0.1:587", seen_at=now, **days)
    message = _message()
    assert "- The certificate of 127.0.0.1:587 expires on " in message.body
    assert "expiring" in _Elements(_html(message)).ids


def test_the_name_of_a_site_can_contain_anything(db, settings, run_in):
    run_in("staging")
    settings.WAGTAIL_SITE_NAME = "Two\nlines & <more>"
    message = _message()
    assert message.subject.startswith("Email from Two lines & <more> (staging): 0 sent")
    message.message()
    assert "&lt;more&gt;" in _html(message)


def test_the_command_prints_it(full, capsys):
    call_command("smtp_summary")
    assert "Sent: 1,004 (week before: 5)" in capsys.readouterr().out
    call_command("smtp_summary", "--daily")
    assert "(day before: " in capsys.readouterr().out


def test_the_command_sends_it_to_an_address(full, office, settings, capsys):
    settings.WAGTAILADMIN_NOTIFICATION_FROM_EMAIL = "cms@example.com"
    call_command("smtp_summary", "--to", "someone@example.org")
    [received] = office.received
    assert received.recipients == ["someone@example.org"]
    # The set has a sender of its own.
    assert received.message["From"] == "user@example.com"
    assert _message().from_email == "cms@example.com"
    assert received.message["Auto-Submitted"] == "auto-generated"
    assert "account settings" not in received.message.get_body().get_content()
    with pytest.raises(CommandError):
        call_command("smtp_summary", "--to", "no address")
    with pytest.raises(CommandError):
        call_command("smtp_summary", "--to", "someone@example.org", "--send")


def test_the_numbers_of_several_sites(db):
    org, net = make_sites()
    _entry(3, state="sent", site_key=org.pk)
    _entry(2, state="sent", site_key=None)
    assert "By site" not in _message().body
    _entry(2, state="failed", site_key=net.pk)
    message = _message()
    assert "By site\n- example.org: 3 sent, 0 not sent\n- example.net: 0 sent, 2 not sent\n" in (
        message.body
    )
    assert "example.net" in _html(message)
