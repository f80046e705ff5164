"""A project that reads from replicas: nothing that decides something may come from one."""

import pytest
from django.core import mail
from django.core.mail import send_mail
from django.core.management import call_command
from django.db import connections
from django.urls import reverse

from tests.admin.conftest import admin_client, form_data
from tests.support.log_entries import make_entry, make_message, make_waiting
from tests.support.outbox import claim
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import live
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.models import (
    DeliverySettings,
    LogEntry,
    OutboxMessage,
    Secret,
    SettingsSet,
)
from wagtail_smtp.outbox.worker import give_up_lost

__all__ = ["admin_client"]

NAMES = "wagtailsnippets_wagtail_smtp_settingsset:"


class Replicas:
    """Sends reads of the plugin's tables to a database that answers none."""

    def db_for_read(self, model, **hints):
        return "replica" if model._meta.app_label == "wagtail_smtp" else None

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, *args, **hints):
        return True


@pytest.fixture(autouse=True)
def _replicas(settings, monkeypatch):
    silent = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/replica", "OPTIONS": {}}
    monkeypatch.setitem(
        connections.settings, "replica", {**connections.settings["default"], **silent}
    )
    settings.DATABASE_ROUTERS = ["tests.live.test_replicas.Replicas"]
    yield
    del connections["replica"]


def test_reload_and_back(smtp_server, make_set):
    item = make_set(smtp_server, reports=["qa@example.com"])
    first = live.reload()
    assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1
    item.sender_name = "Site"
    item.save()
    live.reload()
    live.make_live(first)
    call_command("smtp_rotate_keys", verbosity=0)
    call_command("smtp_status")
    revoke(item.key)
    assert len(smtp_server.received) == 1


def test_the_outbox(make_set, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    later = (("later@example.org", "450 4.2.1 Later"),)
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=later, times=2)]) as server:
        make_set(server)
        live.reload()
        send_mail("Hi", "Body", None, ["now@example.org", "later@example.org"])
        for state in ("deferred", "sent"):
            call_command("smtp_outbox", "--once", "--threads", "1")
            entries = LogEntry.objects.using("default")
            assert entries.values_list("state", flat=True).get() == state
            OutboxMessage.objects.using("default").update(due_at="2020-01-01T00:00:00Z")
        send_mail("Hi", "Body", None, ["lost@example.org"])
        claim(1)
        OutboxMessage.objects.using("default").update(lease_until="2020-01-01T00:00:00Z")
        assert give_up_lost() == 1


def test_the_admin(admin_client):
    admin_client.post(reverse(f"{NAMES}add"), form_data(reports=["qa@example.com"]))
    item = SettingsSet.objects.get()
    stale = form_data(password="", loaded_revision="0")
    assert admin_client.post(reverse(f"{NAMES}edit", args=[item.pk]), stale).status_code == 200
    data = form_data(password="", loaded_revision="1", sender_name="Site")
    response = admin_client.post(reverse(f"{NAMES}edit", args=[item.pk]), data)
    assert response.status_code == 302
    token = live.preview().token
    admin_client.post(reverse("wagtail_smtp_reload:index"), {"token": token})
    assert live.live_version().number == 1
    delivery = reverse("wagtail_smtp_delivery:index")
    admin_client.post(delivery, {"method": "standard", "loaded_revision": "0"})
    assert DeliverySettings.load().method == "standard"
    pages = [
        reverse(f"{NAMES}list"),
        reverse(f"{NAMES}edit", args=[item.pk]),
        reverse(f"{NAMES}copy", args=[item.pk]),
        reverse(f"{NAMES}delete", args=[item.pk]),
        reverse("wagtail_smtp_reload:index"),
        reverse("wagtail_smtp_reload:make_live", args=[1]),
        reverse("wagtail_smtp_versions:index"),
        delivery,
    ]
    assert [admin_client.get(page).status_code for page in pages] == [200] * len(pages)
    admin_client.post(reverse(f"{NAMES}reorder", args=[item.pk]) + "?position=0")
    admin_client.post(reverse(f"{NAMES}delete", args=[item.pk]))
    assert not SettingsSet.objects.exists()
    assert Secret.objects.get().owner == item.key


def test_what_is_done_with_entries_of_the_log(admin_client, settings):
    def post(name, entry):
        # Where it leads is a page that may come from a replica.
        return admin_client.post(reverse(f"wagtail_smtp_log:{name}", args=[entry.pk]))

    routers, settings.DATABASE_ROUTERS = settings.DATABASE_ROUTERS, []
    kept = [make_entry(message=make_message()) for _ in range(3)]
    waiting = [make_waiting() for _ in range(2)]
    settings.DATABASE_ROUTERS = routers
    several = reverse("wagtail_bulk_action", args=["wagtail_smtp", "logentry", "resend"])
    several += f"?id={kept[1].pk}&id={kept[2].pk}"
    for path in (reverse("wagtail_smtp_log:resend", args=[kept[0].pk]), several):
        assert admin_client.get(path).status_code == 200
    assert post("resend", kept[0]).status_code == 302
    admin_client.post(several)
    assert len(mail.outbox) == 3
    post("try_now", waiting[0])
    post("cancel", waiting[1])
    states = LogEntry.objects.using("default").filter(pk__in=[entry.pk for entry in waiting])
    assert [*states.order_by("pk").values_list("state", flat=True)] == ["queued", "cancelled"]
