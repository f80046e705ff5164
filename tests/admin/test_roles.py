"""Every admin URL of the plugin for every role: who may open it.

A new URL needs a line in ``TABLE``; until it has one, a test fails. A new permission needs a line
in ``ROLES``.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.core import mail
from django.db import transaction
from django.test import Client
from django.urls import get_resolver, reverse
from wagtail.admin.views.bulk_action.registry import bulk_action_registry
from wagtail.models import ModelLogEntry

from tests.admin.conftest import form_data
from tests.admin.connection_check.test_permissions import ALLOWED as TESTS
from tests.support.log_entries import make_entry, make_message, make_waiting
from wagtail_smtp import live, models, suppression, tracking
from wagtail_smtp.admin.suppressed import files
from wagtail_smtp.models import LogEntry, SettingsSet

ADD, CHANGE, DELETE, VIEW = (f"{verb}_settingsset" for verb in ("add", "change", "delete", "view"))
METHOD, RELOAD, REDIRECT = "change_deliverysettings", "reload_application", "redirect_mail"
VERSIONS, TEST = "view_configurationversion", "send_test_email"
LOG, CONTENT, RESEND, EXPORT = (
    "view_logentry",
    "view_message_content",
    "resend_message",
    "export_log",
)
SUPPRESSED, SUPPRESS, ALLOW = (f"{verb}_suppressedaddress" for verb in ("view", "add", "delete"))
EVERYTHING = (ADD, CHANGE, DELETE, VIEW, METHOD, RELOAD, REDIRECT, VERSIONS, TEST)
EVERYTHING += (LOG, CONTENT, RESEND, EXPORT, SUPPRESSED, SUPPRESS, ALLOW)

#: Who there is, with their permissions besides the access to the admin.
ROLES: dict[str, tuple[str, ...]] = {
    "editor": (),
    "adder": (ADD,),
    "copier": (ADD, VIEW),
    "changer": (CHANGE,),
    "deleter": (DELETE,),
    "viewer of sets": (VIEW,),
    "method changer": (METHOD,),
    "reloader": (RELOAD,),
    "redirecter": (REDIRECT,),
    "viewer of versions": (VERSIONS,),
    "test sender": (TEST,),
    # All parts of the log that can be shown or downloaded.
    **{
        " + ".join(given): given
        for size in range(1, 5)
        for given in itertools.combinations((LOG, CONTENT, RESEND, EXPORT), size)
    },
    "viewer of suppressed addresses": (SUPPRESSED,),
    "suppresser": (SUPPRESSED, SUPPRESS),
    "allower": (SUPPRESSED, ALLOW),
    "suppresser without the list": (SUPPRESS, ALLOW),
    "everything but the log": tuple(p for p in EVERYTHING if p not in (LOG, CONTENT, RESEND)),
    "everything": EVERYTHING,
}

#: Alternatives, each a set of permissions that are needed together.
Needed = tuple[frozenset[str], ...]


def needs(*permissions: str) -> Needed:
    """Require all of these."""
    return (frozenset(permissions),)


def any_of(*permissions: str) -> Needed:
    """Require one of these."""
    return tuple(frozenset({permission}) for permission in permissions)


#: Refused to everybody, superusers included.
NO_ONE: Needed = ()
#: Allowed to all who may use the admin.
EDITORS: Needed = (frozenset(),)
SEE = any_of(VIEW, CHANGE, RELOAD, METHOD, VERSIONS)
#: Wagtail's own rule: to copy a set, a user must be able to see it.
COPY = (*needs(ADD, VIEW), *needs(ADD, CHANGE))


@dataclass(frozen=True)
class Page:
    """What GET and POST need, and how to call it: ``arguments`` of the URL, what is posted.

    What is posted must do something, or nothing would show that others can't.
    """

    get: Needed
    post: Needed = NO_ONE
    arguments: Callable[["Site"], list[Any]] = field(default=lambda site: [])
    data: Callable[["Site"], dict[str, Any]] = field(default=lambda site: {})
    query: str = ""


@dataclass(frozen=True)
class Site:
    """The data that pages show and change."""

    settings_set: SettingsSet
    entry: LogEntry
    waiting: LogEntry
    held: LogEntry
    user: User
    provider: SettingsSet
    oauth_set: SettingsSet
    suppressed: models.SuppressedAddress


def a_set(site: Site) -> list[Any]:
    return [site.settings_set.pk]


def an_oauth_set(site: Site) -> list[Any]:
    return [site.oauth_set.pk]


def an_entry(site: Site) -> list[Any]:
    return [site.entry.pk]


def a_provider(site: Site) -> list[Any]:
    return [site.provider.pk]


def a_file(site: Site) -> list[Any]:
    return [site.entry.pk, 1]


def one_that_waits(site: Site) -> list[Any]:
    return [site.waiting.pk]


def one_that_is_held(site: Site) -> list[Any]:
    return [site.held.pk]


def one_that_is_suppressed(site: Site) -> list[Any]:
    return [site.suppressed.pk]


def a_user(site: Site) -> list[Any]:
    return [site.user.pk]


def a_form(site: Site) -> dict[str, Any]:
    return form_data(name="Other", loaded_revision="0")


def confirmation(site: Site, number: int | None = None) -> dict[str, Any]:
    """The data that the reload page posts, for the saved sets or an earlier version."""
    version = number and models.ConfigurationVersion.objects.get(number=number)
    return {"token": live.preview(version or None).token}


SETS = "wagtailsnippets_wagtail_smtp_settingsset"
NOTIFY = "wagtail_smtp_notify_user"
TABLE = {
    "wagtail_smtp_delivery:index": Page(
        (*SEE, *needs(TEST), *needs(LOG)),
        needs(METHOD),
        data=lambda site: {"method": "standard", "loaded_revision": "0"},
    ),
    "wagtail_smtp_delivery:test": Page(
        NO_ONE,
        needs(TEST),
        data=lambda site: {"recipient": "new@example.org", "category": "security"},
    ),
    "wagtail_smtp_deliverability:index": Page(SEE, SEE),
    "wagtail_smtp_alerts:index": Page(SEE),
    "wagtail_smtp_alerts:results": Page(SEE),
    "wagtail_smtp_alerts:test": Page(NO_ONE, tuple(each | {TEST} for each in SEE)),
    f"{SETS}:list": Page(any_of(ADD, CHANGE, DELETE, VIEW)),
    f"{SETS}:list_results": Page(any_of(ADD, CHANGE, DELETE, VIEW)),
    f"{SETS}:add": Page(needs(ADD), needs(ADD), data=a_form),
    f"{SETS}:copy": Page(COPY, COPY, a_set, a_form),
    f"{SETS}:edit": Page(needs(CHANGE), needs(CHANGE), a_set, a_form),
    f"{SETS}:delete": Page(needs(DELETE), needs(DELETE), a_set),
    f"{SETS}:reorder": Page(NO_ONE, needs(CHANGE), a_set, query="?position=0"),
    f"{SETS}:put_first": Page(NO_ONE, needs(CHANGE), a_set),
    f"{SETS}:usage": Page(needs(CHANGE), arguments=a_set),
    f"{SETS}:history": Page(any_of(ADD, CHANGE, DELETE), arguments=a_set),
    f"{SETS}:history_results": Page(any_of(ADD, CHANGE, DELETE), arguments=a_set),
    f"{NOTIFY}:choose": Page(any_of(ADD, CHANGE)),
    f"{NOTIFY}:choose_results": Page(any_of(ADD, CHANGE)),
    f"{NOTIFY}:chosen": Page(any_of(ADD, CHANGE), arguments=a_user),
    f"{NOTIFY}:chosen_multiple": Page(any_of(ADD, CHANGE)),
    "wagtail_smtp_troubleshooting:index": Page(EDITORS),
    "wagtail_smtp_consent:connect": Page(needs(CHANGE), needs(CHANGE), an_oauth_set),
    "wagtail_smtp_consent:back": Page(needs(CHANGE)),
    "wagtail_smtp_versions:index": Page(SEE),
    "wagtail_smtp_versions:results": Page(SEE),
    "wagtail_smtp_reload:index": Page(needs(RELOAD), needs(RELOAD), data=confirmation),
    "wagtail_smtp_reload:make_live": Page(
        needs(RELOAD), needs(RELOAD), lambda site: [1], lambda site: confirmation(site, 1)
    ),
    "wagtail_smtp_tracking:set": Page(
        needs(CHANGE), needs(CHANGE), a_provider, lambda site: {"renew": "1"}
    ),
    "wagtail_smtp_log:index": Page(needs(LOG)),
    "wagtail_smtp_log:results": Page(needs(LOG)),
    "wagtail_smtp_log:export": Page(
        needs(LOG, EXPORT), needs(LOG, EXPORT), data=lambda site: {"format": "csv"}
    ),
    "wagtail_smtp_log:entry": Page(needs(LOG), arguments=an_entry),
    "wagtail_smtp_log:frame": Page(needs(LOG, CONTENT), arguments=an_entry),
    "wagtail_smtp_log:source": Page(needs(LOG, CONTENT), arguments=an_entry),
    "wagtail_smtp_log:download": Page(needs(LOG, CONTENT), arguments=an_entry),
    "wagtail_smtp_log:attachment": Page(needs(LOG, CONTENT), arguments=a_file),
    "wagtail_smtp_log:resend": Page(needs(LOG, RESEND), needs(LOG, RESEND), an_entry),
    "wagtail_smtp_log:try_now": Page(needs(LOG, RESEND), needs(LOG, RESEND), one_that_waits),
    "wagtail_smtp_log:cancel": Page(needs(LOG, RESEND), needs(LOG, RESEND), one_that_waits),
    "wagtail_smtp_log:held": Page(needs(LOG, RESEND)),
    "wagtail_smtp_log:held_results": Page(needs(LOG, RESEND)),
    "wagtail_smtp_log:release_all": Page(needs(LOG, RESEND), needs(LOG, RESEND)),
    "wagtail_smtp_log:delete_all": Page(needs(LOG, RESEND), needs(LOG, RESEND)),
    "wagtail_smtp_log:release": Page(needs(LOG, RESEND), needs(LOG, RESEND), one_that_is_held),
    "wagtail_smtp_log:delete": Page(needs(LOG, RESEND), needs(LOG, RESEND), one_that_is_held),
    "wagtail_smtp_suppressed:index": Page(needs(SUPPRESSED)),
    "wagtail_smtp_suppressed:results": Page(needs(SUPPRESSED)),
    "wagtail_smtp_suppressed:add": Page(
        needs(SUPPRESSED, SUPPRESS),
        needs(SUPPRESSED, SUPPRESS),
        data=lambda site: {"addresses": "new@example.org"},
    ),
    "wagtail_smtp_suppressed:import": Page(
        needs(SUPPRESSED, SUPPRESS),
        needs(SUPPRESSED, SUPPRESS),
        data=lambda site: {
            "confirmed": files.signer().sign_object([["new@example.org"], "imported", ""])
        },
    ),
    "wagtail_smtp_suppressed:export": Page(needs(SUPPRESSED), needs(SUPPRESSED)),
    "wagtail_smtp_suppressed:address": Page(needs(SUPPRESSED), arguments=one_that_is_suppressed),
    "wagtail_smtp_suppressed:remove": Page(
        needs(SUPPRESSED, ALLOW), needs(SUPPRESSED, ALLOW), one_that_is_suppressed
    ),
    "bulk:suppressedaddress:remove": Page(
        needs(SUPPRESSED, ALLOW), needs(SUPPRESSED, ALLOW), one_that_is_suppressed
    ),
    "bulk:logentry:resend": Page(needs(LOG, RESEND), needs(LOG, RESEND), an_entry),
    "bulk:settingsset:delete": Page(NO_ONE, NO_ONE, a_set),
}
#: What they allow depends on what is posted: test_set_test_permissions.py has their table.
ELSEWHERE = {f"{SETS}:{name}" for name, _kind in TESTS}
#: Not for people: providers prove themselves there, see tests/tracking.
PUBLIC = {"wagtail_smtp:webhook"}
CALLS = [(name, method) for name in TABLE for method in ("get", "post")]


def names_of_urls() -> set[str]:
    """Return the names of all the plugin's URLs from the resolver and Wagtail's registry."""
    found = set()

    def walk(patterns: Any, spaces: tuple[str, ...]) -> None:
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                inner = (pattern.namespace,) if pattern.namespace else ()
                walk(pattern.url_patterns, spaces + inner)
                continue
            view = getattr(pattern.callback, "view_class", pattern.callback)
            name = ":".join((*spaces, pattern.name or str(pattern.pattern)))
            if "wagtail_smtp" in name or view.__module__.startswith("wagtail_smtp."):
                found.add(name)

    walk(get_resolver().url_patterns, ())
    for model in apps.get_app_config("wagtail_smtp").get_models():
        label = model._meta.model_name
        actions = bulk_action_registry.get_bulk_actions_for_model("wagtail_smtp", label)
        found |= {f"bulk:{label}:{action.action_type}" for action in actions}
    return found


def roles_for(name: str) -> dict[str, tuple[str, ...]]:
    """Return the roles to test: each log permission matters for log pages only."""
    if "log" in name or "delivery" in name:
        return ROLES
    parts = {LOG, CONTENT, RESEND, EXPORT}
    return {role: given for role, given in ROLES.items() if not 1 < len(parts & set(given)) < 4}


def url_of(name: str, site: Site) -> str:
    page = TABLE[name]
    arguments = page.arguments(site)
    if name.startswith("bulk:"):
        path = reverse("wagtail_bulk_action", args=["wagtail_smtp", *name.split(":")[1:]])
        return f"{path}?id={arguments[0]}"
    return reverse(name, args=arguments) + page.query


@pytest.fixture
def site(make_set, admins) -> Site:
    """Two sets, two versions, a failed message and one that waits; all with a canary in them."""
    make_set(name="First", authentication="none")
    item = make_set(name="canary-set", authentication="none")
    live.reload()
    SettingsSet.objects.update(timeout=20)
    live.reload()
    SettingsSet.objects.update(timeout=30)
    files = [("canary.txt", "x", "text/plain")]
    failed = make_entry("canary@example.org", subject="canary", message=make_message(files=files))
    user = User.objects.create_user("canary-user", "canary@example.org", "pw")
    provider = make_set(name="canary-provider", transport="postmark", enabled=False)
    urls = {name: f"https://canary.example/{name}" for name in ("authorize_url", "token_url")}
    oauth = {"provider": "other", "flow": "consent", "client_id": "canary"} | urls
    other = make_set(name="canary-oauth", authentication="oauth2", oauth=oauth, enabled=False)
    waiting = make_waiting(subject="canary")
    held = make_waiting("staging", subject="canary")
    suppression.suppress("canary@example.net")
    suppressed = models.SuppressedAddress.objects.get()
    return Site(item, failed, waiting, held, user, provider, other, suppressed)


def state() -> list[Any]:
    """Return everything users can change, except the audit log."""
    rows = [
        list(model._base_manager.order_by("pk").values_list())
        for model in apps.get_app_config("wagtail_smtp").get_models()
        if model is not models.DeliverySettings
    ]
    method = models.DeliverySettings.load()
    return [*rows, method.method, method.revision, User.objects.count(), len(mail.outbox)]


def call(client: Client, name: str, method: str, site: Site) -> Any:
    data = TABLE[name].data(site) if method == "post" else {}
    return getattr(client, method)(url_of(name, site), data)


def is_let_in(response: Any) -> bool:
    if response.status_code == 302:
        return response.url != reverse("wagtailadmin_home") and "/login/" not in response.url
    assert response.status_code in (200, 400, 403, 404, 405)
    return response.status_code == 200


def is_allowed(name: str, method: str, permissions: tuple[str, ...]) -> bool:
    return any(needed <= set(permissions) for needed in getattr(TABLE[name], method))


def wrong(user: User | None, name: str, method: str, site: Site, *, allowed: bool) -> str:
    """Return what is wrong with the response to ``user``, or "". Changes are undone."""
    client = Client()
    with transaction.atomic():
        if user is not None:
            client.force_login(user)
        before, audited = state(), ModelLogEntry.objects.count()
        response = call(client, name, method, site)
        content = b"".join(response) if response.streaming else response.content
        after = state()
        transaction.set_rollback(True)
        problems = []
        if is_let_in(response) is not allowed:
            problems.append(f"is {'not ' * allowed}let in ({response.status_code})")
        if before != after and (method == "get" or not allowed):
            problems.append("changes something")
        if not allowed and b"canary" in content:
            problems.append("sees something")
        mail.outbox.clear()
    if not allowed and ModelLogEntry.objects.count() != audited:
        problems.append("is in the audit log")
    return ", ".join(problems)


@pytest.mark.threat(2)
def test_every_url_is_in_the_table():
    assert names_of_urls() == {*TABLE, *ELSEWHERE, *PUBLIC}


def test_every_permission_is_a_role(db):
    known = {permission for permissions in ROLES.values() for permission in permissions}
    offered = Permission.objects.filter(content_type__app_label="wagtail_smtp")
    assert set(offered.values_list("codename", flat=True)) <= known


def test_the_group_editor_offers_every_permission(admin_client):
    group = Group.objects.create(name="Email team")
    page = admin_client.get(reverse("wagtailusers_groups:edit", args=[group.pk])).text
    offered = set(re.findall(r'name="permissions"\s+value="(\d+)"', page))
    permissions = Permission.objects.filter(content_type__app_label="wagtail_smtp")
    assert {str(permission.pk) for permission in permissions} <= offered
    assert "Can redirect email (as powerful as superuser)" in page
    # Every group of checkboxes is about email, even where a label is only "Can view".
    models = {permission.content_type.name for permission in permissions}
    assert all("email" in name.lower() or "SMTP" in name for name in models)
    assert all(f">{name[0].upper()}{name[1:]}<" in re.sub(r"\s*\n\s*", "", page) for name in models)


@pytest.mark.threat(1, 2, 5)
@pytest.mark.parametrize(("name", "method"), CALLS)
def test_every_role(site, make_user, name, method):
    found = {}
    for role, permissions in roles_for(name).items():
        allowed = is_allowed(name, method, permissions)
        user = make_user(*permissions, name=role)
        found[role] = wrong(user, name, method, site, allowed=allowed)
    boss = User.objects.create_superuser("boss", "boss@example.com", "pw")
    allowed = bool(getattr(TABLE[name], method))
    found["superuser"] = wrong(boss, name, method, site, allowed=allowed)
    # With every permission of the plugin, but without access to the admin.
    outsider = make_user(*EVERYTHING, name="outsider")
    outsider.user_permissions.remove(Permission.objects.get(codename="access_admin"))
    found["outsider"] = wrong(outsider, name, method, site, allowed=False)
    found["anonymous"] = wrong(None, name, method, site, allowed=False)
    assert {role: problem for role, problem in found.items() if problem} == {}


@pytest.mark.threat(3, 4)
@pytest.mark.parametrize("name", [name for name, page in TABLE.items() if page.post])
def test_nothing_happens_without_a_token_against_forgery(site, admin_client, name):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_client.user)
    before = state()
    assert call(client, name, "post", site).status_code == 403
    assert state() == before


@pytest.mark.parametrize("name", [name for name, page in TABLE.items() if page.post])
def test_what_is_posted_here_does_something(site, admin_client, name):
    """Otherwise the table would prove nothing."""
    before, audited = state(), ModelLogEntry.objects.count()
    call(admin_client, name, "post", site)
    assert state() != before or ModelLogEntry.objects.count() > audited


@pytest.mark.threat(2)
@pytest.mark.parametrize("method", ["head", "options", "put", "patch", "delete"])
def test_other_methods_open_nothing(site, make_user, method):
    """Django's views take PUT for POST: it needs the same permission, and the same token."""
    boss = User.objects.create_superuser("boss", "boss@example.com", "pw")
    users = [None, make_user(name="editor"), boss]
    before = state()
    for name, user in itertools.product(TABLE, users):
        client = Client(enforce_csrf_checks=True)
        if user is not None:
            client.force_login(user)
        response = getattr(client, method)(url_of(name, site))
        assert response.status_code < 500, name
        assert state() == before, name


@pytest.mark.parametrize("method", ["get", "post", "head", "options", "put", "patch", "delete"])
def test_the_webhook_knows_no_roles(site, make_user, method):
    """Whoever is logged in is a stranger there, unless they know the set's secret."""
    assert {"wagtail_smtp:webhook"} == PUBLIC
    users = [None, make_user(name="editor"), make_user(*EVERYTHING, name="everything")]
    users.append(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    path = reverse("wagtail_smtp:webhook", args=[site.provider.key, "postmark"])
    tracking.renew(site.provider, f"http://testserver{path}")
    before, answers = state(), []
    for user in users:
        client = Client(enforce_csrf_checks=True)
        if user is not None:
            client.force_login(user)
        response = getattr(client, method)(path)
        answers.append((response.status_code, response.content))
    assert answers == answers[:1] * len(users)
    assert answers[0][0] in (400, 405) or method in ("head", "get")
    assert b"canary" not in answers[0][1]
    assert state() == before
