"""The demo's settings sets."""

from typing import Any

from django.db import models

from example_site import places
from wagtail_smtp import live
from wagtail_smtp.exceptions import ReloadRefused, SecretError
from wagtail_smtp.models import ReportEmail, Secret, SettingsSet

PORT_FILE = places.DIRECTORY / "port"


def create(admin: Any) -> None:
    """Create two enabled sets and a disabled one that redirects, and make version 1 live."""
    _add(
        places.OFFICE,
        sort_order=0,
        sender_name="Example Office",
        sender_address="office@example.com",
    )
    _add(
        places.NEWSLETTER,
        sort_order=1,
        sender_name="Example News",
        sender_address="news@example.com",
    )
    redirecting = _add(
        places.OFFICE,
        name="Testing: all mail to QA",
        sort_order=2,
        enabled=False,
        redirect=True,
        sender_name="Example Test",
    )
    redirecting.report_emails = [ReportEmail(address="qa@example.com", sort_order=0)]
    redirecting.save()
    live.reload(admin, reason="The demo's first version")
    PORT_FILE.write_text(str(places.site_port()))


def _add(server: places.DemoServer, **values: Any) -> SettingsSet:
    item = SettingsSet(
        **{
            "name": server.name,
            "host": places.HOST,
            "port": server.port,
            "username": server.username,
            "ca_certificates": places.CA_FILE.read_text(),
            **values,
        }
    )
    item.secret = Secret.store(server.password, item.frozen(()).binding(), item.key)
    item.save()
    return item


def follow_port() -> str:
    """Update the sets' ports after a change of PORT, and return a message for the user.

    The new ports go live immediately, unless other changes are not live yet: a person has to
    confirm those.
    """
    old = int(PORT_FILE.read_text()) if PORT_FILE.is_file() else places.site_port()
    if old == places.site_port():
        return ""
    waiting = live.preview().has_changes
    try:
        for item in _sets_at(old):
            _move(item, item.port - old + places.site_port())
        if not waiting:
            live.reload(reason="PORT of the demo changed")
    except (SecretError, ReloadRefused) as error:
        return f"The ports of the sets could not be updated: {error}"
    finally:
        PORT_FILE.write_text(str(places.site_port()))
    if waiting:
        return "The new ports are not live yet: choose “Reload application” in the admin."
    return ""


def _sets_at(port: int) -> models.QuerySet[SettingsSet]:
    ports = [port + server.offset for server in places.SERVERS]
    return SettingsSet.objects.filter(host=places.HOST, port__in=ports)


def _move(item: SettingsSet, port: int) -> None:
    # The password is bound to its server, so it is stored again for the new port.
    before = item.frozen(()).binding()
    item.port = port
    if item.secret is not None and not item.secret.revoked_at:
        password = item.secret.reveal(before)
        item.secret = Secret.store(password, item.frozen(()).binding(), item.key)
    item.stamp(None)
    item.save(update_fields=["port", "secret", "revision", "changed_at", "changed_by"])
