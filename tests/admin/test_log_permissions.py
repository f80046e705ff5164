"""Every URL of the delivery log, and every role: who gets in, and who doesn't."""

import itertools

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.log_entries import make_entry, make_message, make_waiting
from wagtail_smtp.admin.log import LogViewSet
from wagtail_smtp.models import LogEntry

VIEW, CONTENT = "view_logentry", "view_message_content"
RESEND, EXPORT = "resend_message", "export_log"

#: What each URL asks for, by method; the rest of the URLs' arguments.
NEEDED = {
    "index": {"get": {VIEW}},
    "results": {"get": {VIEW}},
    "export": {"get": {VIEW, EXPORT}, "post": {VIEW, EXPORT}},
    "entry": {"get": {VIEW}},
    "frame": {"get": {VIEW, CONTENT}},
    "source": {"get": {VIEW, CONTENT}},
    "download": {"get": {VIEW, CONTENT}},
    "attachment": {"get": {VIEW, CONTENT}},
    "resend": {"get": {VIEW, RESEND}, "post": {VIEW, RESEND}},
    "try_now": {"get": {VIEW, RESEND}, "post": {VIEW, RESEND}},
    "cancel": {"get": {VIEW, RESEND}, "post": {VIEW, RESEND}},
    "bulk": {"get": {VIEW, RESEND}, "post": {VIEW, RESEND}},
}
CALLS = [(name, method) for name, methods in NEEDED.items() for method in methods]
ALL = (VIEW, CONTENT, RESEND, EXPORT)
ROLES = [
    *itertools.chain.from_iterable(itertools.combinations(ALL, size) for size in range(5)),
    # Whoever may do anything else here sees nothing of the log.
    ("view_settingsset", "change_settingsset", "reload_application", "redirect_mail"),
]


def url_of(name, entry):
    if name == "bulk":
        path = reverse("wagtail_bulk_action", args=["wagtail_smtp", "logentry", "resend"])
        return f"{path}?id={entry.pk}"
    arguments = [] if name in ("index", "results", "export") else [entry.pk]
    return reverse(f"wagtail_smtp_log:{name}", args=arguments + [1] * (name == "attachment"))


def entry_for(name):
    if name in ("try_now", "cancel"):
        return make_waiting(subject="canary-subject")
    message = make_message(files=[("a.txt", "x", "text/plain")])
    return make_entry("canary@example.org", subject="canary-subject", message=message)


def call(client, name, method):
    entry = entry_for(name)
    data = {"format": "csv"} if name == "export" else {}
    response = getattr(client, method)(url_of(name, entry), data if method == "post" else {})
    return entry, response


def nothing_happened(entry):
    entry.refresh_from_db()
    is_kept = entry.state in ("failed", "queued") and hasattr(entry, "stored")
    own = ModelLogEntry.objects.filter(action__startswith="wagtail_smtp")
    return is_kept and not mail.outbox and LogEntry.objects.count() == 1 and not own.exists()


def test_every_url_is_in_the_table():
    names = {pattern.name for pattern in LogViewSet().get_urlpatterns()}
    assert names | {"bulk"} == set(NEEDED)


@pytest.mark.parametrize(("name", "method"), CALLS)
def test_anonymous_people_are_asked_to_log_in(client, db, name, method):
    entry, response = call(client, name, method)
    assert response.status_code == 302
    assert response.url.startswith(reverse("wagtailadmin_login"))
    assert nothing_happened(entry)


@pytest.mark.parametrize(("name", "method"), CALLS)
def test_somebody_without_the_admin_gets_nothing(client, make_user, name, method):
    user = make_user(*ALL)
    user.user_permissions.remove(user.user_permissions.get(codename="access_admin"))
    client.force_login(user)
    entry, response = call(client, name, method)
    assert response.status_code == 302
    assert nothing_happened(entry)


@pytest.mark.parametrize(("name", "method"), CALLS)
@pytest.mark.parametrize("role", ROLES, ids=lambda role: "+".join(role) or "editor")
def test_roles(client, make_user, role, name, method):
    client.force_login(make_user(*role))
    entry, response = call(client, name, method)
    if NEEDED[name][method] <= set(role):
        assert response.status_code == 200 or (
            response.status_code == 302 and response.url != reverse("wagtailadmin_home")
        )
        return
    assert response.status_code == 302
    assert response.url == reverse("wagtailadmin_home")
    assert nothing_happened(entry)


@pytest.mark.parametrize(("name", "method"), CALLS)
def test_a_superuser_may_do_everything(admin_client, name, method):
    _entry, response = call(admin_client, name, method)
    assert response.status_code in (200, 302)
    if response.status_code == 302:
        assert response.url != reverse("wagtailadmin_home")


@pytest.mark.parametrize("name", [name for name, methods in NEEDED.items() if "post" in methods])
def test_nothing_happens_without_a_token_against_forgery(admin_client, name):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_client.user)
    entry, response = call(client, name, "post")
    assert response.status_code == 403
    assert nothing_happened(entry)


@pytest.mark.parametrize(
    "name", [name for name, methods in NEEDED.items() if "post" in methods and name != "export"]
)
def test_a_look_at_a_question_does_nothing(admin_client, name):
    entry, response = call(admin_client, name, "get")
    assert response.status_code == 200
    assert nothing_happened(entry)


@pytest.mark.parametrize(
    "name", [name for name, methods in NEEDED.items() if "post" not in methods]
)
def test_nothing_else_can_be_posted(admin_client, name):
    _entry, response = call(admin_client, name, "post")
    assert response.status_code == 405


def test_a_page_offers_only_what_its_reader_may(client, make_user):
    entry = make_entry(message=make_message(files=[("canary.txt", "x", "text/plain")]))
    offers = {
        "resend": reverse("wagtail_smtp_log:resend", args=[entry.pk]),
        "content": reverse("wagtail_smtp_log:frame", args=[entry.pk]),
        "export": reverse("wagtail_smtp_log:export"),
        "bulk": "data-bulk-action-checkbox",
    }

    def offered(*role):
        client.force_login(make_user(VIEW, *role, name="+".join(role) or "viewer"))
        paths = [
            reverse("wagtail_smtp_log:index"),
            reverse("wagtail_smtp_log:entry", args=[entry.pk]),
        ]
        text = "".join(client.get(path).content.decode() for path in paths)
        assert ("canary.txt" in text) is (CONTENT in role)
        return {name for name, mark in offers.items() if mark in text}

    assert offered() == set()
    assert offered(CONTENT) == {"content"}
    assert offered(RESEND) == {"resend", "bulk"}
    assert offered(EXPORT) == {"export"}


def test_the_menu_shows_the_log_to_those_who_may_see_it(client, make_user):
    path = reverse("wagtail_smtp_log:index")
    home = reverse("wagtailadmin_home")
    client.force_login(make_user(name="editor"))
    assert path not in client.get(home).content.decode()
    client.force_login(make_user(VIEW, name="viewer"))
    assert path in client.get(home).content.decode()


def test_the_group_editor_offers_the_permissions(admin_client):
    page = admin_client.get(reverse("wagtailusers_groups:add")).content.decode()
    for text in ("Can view message content", "Can resend messages", "Can export the delivery log"):
        assert text in page
