"""Which site a message belongs to, and what sets make of it."""

import asyncio

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.mail import EmailMessage, mail_admins, send_mail
from django.db import DatabaseError, connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from wagtail.admin.mail import send_notification
from wagtail.contrib.forms.models import EmailFormMixin
from wagtail.models import Page, Site

from tests.support.sites import make_sites
from wagtail_smtp import email_site
from wagtail_smtp.delivery.explain.notices import notices
from wagtail_smtp.exceptions import ConfigurationUnavailable, EmailDeliveryError
from wagtail_smtp.live import draft_configuration, sites
from wagtail_smtp.maintenance.resend import resend
from wagtail_smtp.middleware import EmailSiteMiddleware
from wagtail_smtp.models import LogEntry, OutboxMessage, SettingsSet, SiteSender
from wagtail_smtp.outbox.worker import Worker


@pytest.fixture
def two_sites(db):
    return make_sites()


@pytest.fixture
def limited(two_sites, smtp_server, make_set, reload):
    """A set only for example.net."""
    item = make_set(smtp_server, name="Net", sites=[two_sites[1].pk])
    reload()
    return item


def message(**attributes):
    made = EmailMessage("Hi", "Body", to=["real@example.org"])
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def logged():
    entry = LogEntry.objects.latest("pk")
    return entry.site, entry.site_source, entry.via


def answer(host, send):
    """Send in a request to ``host``."""
    request = RequestFactory(headers={"host": host}).get("/")
    EmailSiteMiddleware(lambda request: send())(request)


def test_the_sources_in_their_order(two_sites, limited):
    _org, net = two_sites
    message().send()
    assert logged() == ("example.org", "default", "standard delivery")
    answer("example.net", message().send)
    assert logged() == ("example.net", "request", "Net")
    with email_site("example.org"):
        answer("example.net", message().send)
        assert logged() == ("example.org", "context", "standard delivery")
        with email_site(net):
            message().send()
        assert logged() == ("example.net", "context", "Net")
        message(email_site=net).send()
        assert logged() == ("example.net", "message", "Net")
        message(email_site="EXAMPLE.net").send()
        assert logged() == ("example.net", "message", "Net")


#: Wagtail's own call, which Django 6.1 deprecates.
through_wagtail = pytest.mark.filterwarnings(r"ignore:get_connection\(\) is deprecated")


@through_wagtail
def test_a_notification_belongs_to_its_page_wherever_the_admin_is(two_sites, limited):
    _org, net = two_sites
    user = User.objects.create_superuser("ada", "ada@example.org", "pw")
    context = {"page": net.root_page, "editor": user}
    context |= {name: [] for name in ("new_comments", "resolved_comments", "deleted_comments")}
    context["replied_comments"] = []
    answer("example.org", lambda: send_notification([user], "updated_comments", context))
    assert logged() == ("example.net", "page", "Net")


class Form:
    """As a form page of Wagtail."""

    to_address, subject, from_address = "real@example.org", "New answer", ""
    process_form_submission = EmailFormMixin.process_form_submission
    send_mail = EmailFormMixin.send_mail

    def __init__(self, page):
        self.get_url_parts = page.get_url_parts

    def render_email(self, form):
        return "Body"


@through_wagtail
def test_the_email_of_a_form_belongs_to_its_page(two_sites, limited):
    page = two_sites[1].root_page.add_child(title="Contact", slug="contact")
    Form(page).send_mail(None)
    assert logged() == ("example.net", "page", "Net")
    # A page below no site says nothing.
    Form(Page.get_first_root_node()).send_mail(None)
    assert logged()[:2] == ("example.org", "default")


def test_an_asynchronous_request(two_sites, limited):
    async def send(request):
        await asyncio.to_thread(_note)

    found = []

    def _note():
        from wagtail_smtp.sites import current_request

        found.append(current_request.get())

    request = RequestFactory(headers={"host": "example.net"}).get("/")
    asyncio.run(EmailSiteMiddleware(send)(request))
    assert found == [request]


@pytest.mark.parametrize("mark", ["", "a b", "me@example.org", 5, None, object(), Site()])
def test_what_is_not_a_site(mark):
    with pytest.raises(ValueError, match="is not a site"), email_site(mark):
        pass


def test_a_hostname_without_a_site_is_an_error_that_names_the_sites(two_sites):
    with email_site("example.com"), pytest.raises(ValueError, match=r"example\.org, example\.net"):
        message().send()
    assert LogEntry.objects.get().state == "failed"


def test_a_site_has_its_own_sender(two_sites, smtp_server, make_set, reload):
    org, net = two_sites
    item = make_set(smtp_server, sender_name="Shop", sender_address="shop@example.org")
    SiteSender.objects.create(settings_set=item, site=net, sender_address="shop@example.net")
    reload()
    for site in (org, net):
        with email_site(site):
            message().send()
            message(from_email="own@example.com").send()
    assert [received.message["From"] for received in smtp_server.received] == [
        "Shop <shop@example.org>",
        "own@example.com",
        "Shop <shop@example.net>",
        "own@example.com",
    ]
    assert smtp_server.received[2].sender == "shop@example.net"


def test_without_sets_that_use_sites_there_is_no_query_more(
    two_sites, smtp_server, make_set, reload
):
    make_set(smtp_server)
    reload()
    message().send()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        message().send()
    assert not [query for query in queries if "wagtailcore_site" in query["sql"]]
    assert logged() == ("", "", "Set 1")


def test_a_set_of_a_deleted_site_is_not_used_for_all(two_sites, limited, reload):
    two_sites[1].delete()
    limited.refresh_from_db()
    assert limited.sites
    message().send()
    assert logged() == ("example.org", "default", "standard delivery")
    [notice] = notices(draft_configuration())
    assert (notice.kind, notice.reason, notice.name) == ("unused", "sites", "Net")
    assert "deleted" in str(notice)


def test_a_deleted_site_takes_its_sender_along(two_sites, make_set, reload):
    item = make_set()
    SiteSender.objects.create(settings_set=item, site=two_sites[1], sender_name="Net")
    version = reload()
    two_sites[1].delete()
    assert not SiteSender.objects.exists()
    item.thaw(draft_configuration().sets[0])
    item.save()
    # An earlier version names it, and can be made live again.
    from wagtail_smtp import live

    reload()
    assert live.make_live(version) is not None


def test_a_queued_message_keeps_its_site(two_sites, limited, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    with email_site("example.net"):
        message().send()
    message().send()
    assert [*LogEntry.objects.order_by("pk").values_list("site", "site_source")] == [
        ("example.net", "context"),
        ("", ""),  # the worker looks up the default site
    ]
    Worker().drain()
    assert [*LogEntry.objects.order_by("pk").values_list("site", "site_source", "via")] == [
        ("example.net", "context", "Net"),
        ("example.org", "default", "standard delivery"),
    ]


def test_a_resend_keeps_the_site(two_sites, limited, configure):
    configure(STORE_MESSAGES="all")
    with email_site("example.net"):
        message().send()
    resend(LogEntry.objects.get())
    assert logged() == ("example.net", "resent", "Net")


def test_the_first_redirect_is_for_all_sites_and_another_for_its_own(
    two_sites, smtp_server, make_set, reload
):
    _org, net = two_sites
    qa = ["qa@example.com"]
    make_set(smtp_server, name="Main", sites=[two_sites[0].pk])
    test = make_set(smtp_server, name="Test", sites=[net.pk], redirect=True, reports=qa)
    reload()

    def recipients(site):
        with email_site(site):
            message().send()
        return smtp_server.received[-1].recipients

    assert recipients("example.net") == qa
    assert recipients("example.org") == ["real@example.org"]
    [notice] = notices(draft_configuration())
    assert (notice.kind, notice.name) == ("redirect_some", "Test")
    assert "only in effect for: example.net." in str(notice)
    SettingsSet.objects.filter(pk=test.pk).update(sort_order=-1)
    reload()
    assert recipients("example.org") == qa


def _fail():
    raise DatabaseError


class Broken:
    def get_url_parts(self):
        raise DatabaseError


@through_wagtail
def test_email_whose_site_can_not_be_looked_up_is_not_sent_if_that_matters(
    two_sites, limited, reload, configure
):
    configure(STORE_MESSAGES="all")
    broken = Form(Broken())
    with pytest.raises(EmailDeliveryError, match="The site of the message can't be looked up"):
        broken.send_mail(None)
    entry = LogEntry.objects.get()
    assert (entry.state, entry.site_key, entry.site_source) == ("failed", None, "page")
    resend(entry)
    assert logged() == ("example.org", "default", "standard delivery")
    limited.delete()
    reload()
    broken.send_mail(None)
    assert LogEntry.objects.latest("pk").state == "sent"


def test_a_default_site_that_can_not_be_looked_up_is_looked_up_again(
    two_sites, limited, configure, settings, monkeypatch
):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    message().send()
    with monkeypatch.context() as broken:
        broken.setattr(sites, "default", _fail)
        Worker().drain()
    assert LogEntry.objects.get().state == "deferred"
    OutboxMessage.objects.update(due_at=timezone.now())
    Worker().drain()
    assert logged() == ("example.org", "default", "standard delivery")


def test_error_mail_is_sent_even_so(two_sites, limited, admins, monkeypatch):
    monkeypatch.setattr(sites, "default", _fail)
    mail_admins("Down", "Body")
    assert LogEntry.objects.latest("pk").state == "sent"
    with pytest.raises(ConfigurationUnavailable):
        send_mail("Hi", "Body", None, ["real@example.org"])


def test_sites_are_named_with_a_port_only_where_that_says_more(two_sites):
    root = Page.get_first_root_node()
    Site.objects.create(hostname="example.net", port=8000, root_page=root)
    Site.objects.create(hostname="example.net", port=443, root_page=root)
    known = sites.known()
    assert set(sites.names(known).values()) == {
        "example.org",
        "example.net:80",
        "example.net:443",
        "example.net:8000",
    }
    assert sites.find("example.net:8000", known).port == 8000
    with pytest.raises(ValueError, match=r"example\.net:443, example\.net:8000"):
        sites.find("example.net", known)


def _warns():
    found = run_checks(databases=["default"], include_deployment_checks=True)
    return "wagtail_smtp.W030" in {each.id for each in found}


class OwnMiddleware(EmailSiteMiddleware):
    """As a project may extend it."""


@pytest.mark.parametrize("live_or_saved", [True, False])
def test_a_check_asks_for_the_middleware(two_sites, make_set, reload, settings, live_or_saved):
    item = make_set()
    reload()
    assert not _warns()
    SiteSender.objects.create(settings_set=item, site=two_sites[1], sender_name="Net")
    if live_or_saved:
        reload()
        SiteSender.objects.all().delete()
    assert _warns()
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.OwnMiddleware"]
    assert not _warns()


@pytest.mark.django_db(transaction=True)
def test_on_an_event_loop(smtp_server, make_set, reload):
    """Django refuses queries there, so the plugin asks in a thread."""
    _org, net = make_sites()
    make_set(smtp_server, name="Net", sites=[net.pk])
    reload()

    async def view():
        with email_site("example.net"):
            return message().send()

    assert asyncio.run(view()) == 1
    assert logged() == ("example.net", "context", "Net")
