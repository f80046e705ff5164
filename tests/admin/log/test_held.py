"""*Held messages*: listed, released and deleted, one by one or all."""

import re

import pytest
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.support.log_entries import fill_outbox, make_entry, make_message, make_waiting
from wagtail_smtp.admin.log import held as pages
from wagtail_smtp.models import LogEntry, OutboxMessage, SettingsSet
from wagtail_smtp.outbox import held

HELD = "wagtail_smtp_log:held"
RELEASE_ALL, DELETE_ALL = "wagtail_smtp_log:release_all", "wagtail_smtp_log:delete_all"


@pytest.fixture(autouse=True)
def _tasks(settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


@pytest.fixture
def copied(make_set, reload, run_in):
    """A process of staging with a copy of production's database."""
    run_in("production")
    make_set(name="Office", reports=["qa@example.com"])
    reload()
    run_in("staging")


@pytest.fixture
def message(copied):
    """A message that came along; its entry."""
    return make_waiting("production", subject="From production")


def url(name, entry):
    return reverse(f"wagtail_smtp_log:{name}", args=[entry.pk])


def text(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def audit(action):
    return ModelLogEntry.objects.filter(action=f"wagtail_smtp.{action}")


def is_held(entry):
    return held.rows().filter(entry=entry).exists()


def test_all_held_messages_are_listed(message, admin_client):
    make_waiting("staging", subject="From here")
    make_waiting(subject="Without a name")
    security = make_waiting("production", subject="Reset", category="security")
    page = text(admin_client.get(reverse(HELD)))
    assert url("entry", message) in page
    for shown in ("From production", "Without a name", "real@example.org", "Invoices"):
        assert shown in page
    assert "From here" not in page
    assert url("release", message) in page
    assert url("delete", message) in page
    assert url("release", security) not in page
    assert url("delete", security) in page
    assert reverse(RELEASE_ALL) in page
    assert reverse(DELETE_ALL) in page


def test_the_delivery_log_says_which_messages_are_held(message, admin_client):
    make_waiting("staging", subject="From here")
    page = text(admin_client.get(reverse("wagtail_smtp_log:index")))
    [held_row] = re.findall(r"<tr(?:(?!</tr>).)*data-held.*?</tr>", page)
    assert "From production" in held_row


def test_a_security_message_says_that_it_cannot_be_released(copied, admin_client):
    security = make_waiting("production", subject="Reset", category="security")
    page = text(admin_client.get(url("entry", security)))
    assert "data-cannot-release" in page
    assert "unless someone releases it" not in page
    refused = text(admin_client.get(url("release", security), follow=True))
    assert "Security messages can&#x27;t be released" in refused


def test_where_no_message_is_held(copied, admin_client):
    page = text(admin_client.get(reverse(HELD)))
    assert "No messages are held." in page
    assert reverse(RELEASE_ALL) not in page
    assert reverse(DELETE_ALL) not in page
    for name in (RELEASE_ALL, DELETE_ALL):
        assert admin_client.get(reverse(name)).url == reverse(HELD)


def test_the_list_has_pages_and_takes_few_queries(
    copied, admin_client, django_assert_max_num_queries
):
    fill_outbox(60)
    with django_assert_max_num_queries(25):
        page = text(admin_client.get(reverse(HELD), {"p": "3"}))
    assert page.count("/release/?next=") == 10


@pytest.mark.parametrize("name", ["release", "delete"])
def test_one_message(message, admin_client, name):
    other = make_waiting("production")
    page = text(admin_client.get(url(name, message)))
    assert "From production" in page
    assert "real@example.org" in page
    assert is_held(message)
    response = admin_client.post(url(name, message), follow=True)
    assert response.redirect_chain[-1][0] == url("entry", message)
    assert f"The message was {name}d." in text(response)
    assert not is_held(message)
    assert is_held(other)
    assert audit(name).get().object_id == str(message.pk)
    state = {"release": "queued", "delete": "cancelled"}[name]
    assert LogEntry.objects.get(pk=message.pk).state == state
    again = admin_client.post(url(name, message), follow=True)
    assert "You can no longer do this with this message." in text(again)
    assert audit(name).count() == 1


@pytest.mark.parametrize("name", ["release", "delete"])
@pytest.mark.parametrize(
    ("following", "is_followed"),
    [("/admin/email/log/held/", True), ("https://evil.example", False)],
)
def test_the_way_back(message, admin_client, name, following, is_followed):
    path = f"{url(name, message)}?next={following}"
    expected = following if is_followed else url("entry", message)
    assert f'href="{expected}">No, go back' in text(admin_client.get(path))
    assert admin_client.post(path).url == expected


def test_someone_else_was_faster(message, admin_client, monkeypatch):
    monkeypatch.setattr(pages.held, "release", lambda entry: False)
    response = admin_client.post(url("release", message), follow=True)
    assert "This message is no longer held." in text(response)
    assert not audit("release").exists()


def test_an_entrys_page_says_that_its_message_is_held(message, admin_client):
    page = text(admin_client.get(url("entry", message)))
    assert "data-held" in page
    assert "<dt>Queued in</dt><dd>production</dd>" in page
    assert "Next attempt" not in page
    for name in ("release", "delete"):
        assert url(name, message) in page
    for name in ("try_now", "cancel"):
        assert url(name, message) not in page
        response = admin_client.post(url(name, message), follow=True)
        assert "You can no longer do this" in text(response)
    assert is_held(message)
    admin_client.post(url("release", message))
    page = text(admin_client.get(url("entry", message)))
    assert "data-held" not in page
    assert url("try_now", message) in page
    assert url("release", message) not in page


def test_a_security_message_is_only_deleted(copied, admin_client):
    entry = make_waiting("production", category="security")
    page = text(admin_client.get(url("entry", entry)))
    assert url("release", entry) not in page
    admin_client.post(url("release", entry))
    assert is_held(entry)
    assert admin_client.get(reverse(RELEASE_ALL)).url == reverse(HELD)
    admin_client.post(reverse(RELEASE_ALL))
    assert is_held(entry)
    admin_client.post(url("delete", entry))
    assert LogEntry.objects.get().state == "cancelled"


def test_all_are_released(copied, admin_client):
    fill_outbox(3)
    security = make_waiting("production", category="security")
    make_waiting("staging")
    page = text(admin_client.get(reverse(RELEASE_ALL)))
    assert 'data-number="3"' in page
    assert 'data-security="1"' in page
    assert held.rows().count() == 4
    response = admin_client.post(reverse(RELEASE_ALL), follow=True)
    assert "3 messages were released." in text(response)
    assert [row.entry for row in held.rows()] == [security]
    assert OutboxMessage.objects.filter(environment="staging").count() == 4
    entry = audit("release_held").get()
    assert (entry.user, entry.data) == (admin_client.user, {"number": 3})
    assert entry.message == "Released 3 held messages"


def test_all_are_deleted(copied, admin_client):
    fill_outbox(3)
    make_waiting("production", category="security")
    own = make_waiting("staging")
    page = text(admin_client.get(reverse(DELETE_ALL)))
    assert 'data-number="4"' in page
    response = admin_client.post(reverse(DELETE_ALL), follow=True)
    assert "4 messages were deleted." in text(response)
    assert [row.entry for row in OutboxMessage.objects.all()] == [own]
    assert audit("delete_held").get().message == "Deleted 4 held messages"


@pytest.mark.parametrize("name", [RELEASE_ALL, DELETE_ALL])
def test_what_takes_too_long_for_a_request_goes_on_in_the_next(
    copied, admin_client, monkeypatch, name
):
    monkeypatch.setattr(pages, "MAX_SECONDS", 0)
    fill_outbox(700)
    page = text(admin_client.post(reverse(name), follow=True))
    assert "200 messages are left." in page
    assert re.search(rf'href="{reverse(name)}"[^>]*>(Release|Delete) the rest', page)
    page = text(admin_client.post(reverse(name), follow=True))
    assert "are left" not in page
    assert held.rows().count() == 0


def test_where_released_messages_would_go(message, admin_client, reload, make_set, configure):
    def where():
        pages = [admin_client.get(path) for path in (reverse(HELD), url("release", message))]
        first, second = map(text, pages)
        found = re.search(r"<p>([^<]*(?i:released messages) (?:are sent|go)[^<.]*\.)", first)[1]
        assert found in second
        return found

    assert "once someone reloads" in where()
    reload(end_redirect=True)
    assert "real recipients, who may have received them already" in where()
    SettingsSet.objects.update(redirect=True)
    reload()
    assert "All email is redirected" in where()
    make_set(categories=["form"], sort_order=-1)
    reload(end_redirect=True)
    assert "Only some email is redirected" in where()
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    assert "All email is redirected" in where()


def test_in_a_copy_nothing_is_resent(message, admin_client):
    entry = make_entry(message=make_message())
    before = LogEntry.objects.count()
    bulk = reverse("wagtail_bulk_action", args=["wagtail_smtp", "logentry", "resend"])
    for path in (url("resend", entry), f"{bulk}?id={entry.pk}"):
        for method in (admin_client.get, admin_client.post):
            assert "No email is sent from “staging”" in text(method(path, follow=True))
    assert LogEntry.objects.count() == before
    assert not audit("resend").exists()
