"""*Deliverability*: who sees it, when name servers are asked, and what it shows."""

import re

import pytest
from django.test import Client
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.deliverability.conftest import name_server
from tests.deliverability.zones import zone_with
from tests.support import down_cache
from tests.support.servers import dns_server
from wagtail_smtp.admin import deliverability
from wagtail_smtp.transports import name_servers

__all__ = ["name_server"]
INDEX = "wagtail_smtp_deliverability:index"


@pytest.fixture
def live(make_set, reload):
    make_set(name="Office", host="smtp.gmail.com", username="shop@example.com")
    reload()


def get(client):
    response = client.get(reverse(INDEX))
    assert response.status_code == 200
    return response.content.decode()


def post(client):
    response = client.post(reverse(INDEX))
    assert response.status_code == 200
    return response.content.decode()


def topics(text):
    """The verdict on each topic."""
    return dict(re.findall(r'data-topic="(\w+)".*?data-state="(\w+)"', text, re.DOTALL))


def test_only_a_post_asks_name_servers(admin_client, live, name_server):
    assert topics(get(admin_client)) == {}
    assert name_server.asked == []
    shown = topics(post(admin_client))
    assert shown == {"SPF": "good", "DKIM": "good", "DMARC": "good", "MX": "good"}
    asked = len(name_server.asked)
    assert asked
    assert topics(get(admin_client)) == shown
    assert len(name_server.asked) == asked
    assert ModelLogEntry.objects.filter(action="wagtail_smtp.check_dns").count() == 1


def test_the_record_to_copy(admin_client, live, name_server):
    name_server.zone = zone_with(spf=["v=spf1 mx -all"])
    text = post(admin_client)
    assert topics(text)["SPF"] == "bad"
    values = re.findall(r'<input type="text" id="record-1-spf-1[^"]*" value="([^"]*)"', text)
    assert values == ["example.com", "v=spf1 include:_spf.google.com mx -all"]
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_what_dns_contains_is_only_text(admin_client, live, name_server):
    name_server.zone = zone_with(spf=["v=spf1 <script>alert(1)</script> -all"])
    text = post(admin_client)
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_hostile_name_servers(admin_client, live, name_server):
    name_server.faults["*"] = dns_server.failing
    assert set(topics(post(admin_client)).values()) == {"unknown"}


def test_without_a_cache(admin_client, live, name_server, settings):
    settings.CACHES = {"default": down_cache.SETTING}
    assert topics(post(admin_client))["SPF"] == "good"
    assert topics(get(admin_client)) == {}


def test_too_many_checks(admin_client, live, name_server):
    for _ in range(5):
        post(admin_client)
    asked = len(name_server.asked)
    assert topics(post(admin_client))["SPF"] == "good"
    assert len(name_server.asked) == asked


def test_nothing_to_check(admin_client, name_server):
    assert "data-nothing-to-check" in get(admin_client)
    assert "data-nothing-to-check" in post(admin_client)


def test_without_the_extra(admin_client, live, name_server, monkeypatch):
    monkeypatch.setattr(name_servers, "find_spec", lambda name: None)
    for text in (get(admin_client), post(admin_client)):
        assert "data-not-installed" in text
        assert "wagtail-smtp[dns]" in text
        assert "<button" not in text.partition('class="w-mt-8 wsmtp-dns"')[2].partition("</main")[0]
    assert name_server.asked == []
    assert not ModelLogEntry.objects.filter(action="wagtail_smtp.check_dns").exists()


def test_strangers_and_forged_requests_ask_nothing(admin_client, live, make_user, name_server):
    assert Client().post(reverse(INDEX)).url.startswith(reverse("wagtailadmin_login"))
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_client.user)
    assert client.post(reverse(INDEX)).status_code == 403
    client = Client()
    client.force_login(make_user("view_logentry", "send_test_email"))
    assert client.post(reverse(INDEX)).url == reverse("wagtailadmin_home")
    assert name_server.asked == []


def test_the_line_in_a_test(admin_client, live, name_server, make_set):
    item = make_set(host="smtp.gmail.com", username="other@example.com").frozen(())
    assert deliverability.line_about(item) == ""
    post(admin_client)
    asked = len(name_server.asked)
    assert deliverability.line_about(item) == "example.com is set up well."
    other = make_set(host="smtp.gmail.com", username="other@example.org").frozen(())
    assert deliverability.line_about(other) == ""
    assert len(name_server.asked) == asked
