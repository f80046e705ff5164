"""Which category a message has: every witness, their order, and security above all."""

import pytest
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, mail_admins

from wagtail_smtp import email_category
from wagtail_smtp.checks import check_call_sites
from wagtail_smtp.delivery import routing as classify_module
from wagtail_smtp.delivery.routing import (
    CALL_SITES,
    PACKAGES,
    Classification,
    Package,
    classify,
    exists,
)
from wagtail_smtp.signals import message_sent


@pytest.fixture
def sent(db):
    """Categories of the messages that left, in order."""
    found = []

    def note(sender, category, **kwargs):
        found.append(category)

    message_sent.connect(note)
    yield found
    message_sent.disconnect(note)


def test_without_a_witness_it_is_other():
    assert classify(EmailMessage()) == Classification("other", "default")


def test_the_witnesses_in_their_order():
    message = EmailMessage(headers={"x-email-CATEGORY": "invoice"})
    with email_category("report"):
        assert classify(message, "bulk") == Classification("invoice", "message")
        assert classify(EmailMessage(), "bulk") == Classification("report", "context")
        with email_category("inner"):
            assert classify(EmailMessage()) == Classification("inner", "context")
    assert classify(EmailMessage(), "bulk") == Classification("bulk", "mailer")
    marked = EmailMessage()
    marked.email_category = "invoice"
    assert classify(marked) == Classification("invoice", "message")


def test_security_from_anybody_wins():
    message = EmailMessage(headers={"X-Email-Category": "invoice"})
    assert classify(message, "security") == Classification("security", "mailer")
    with email_category("security"), email_category("report"):
        assert classify(message) == Classification("security", "context")


@pytest.mark.parametrize("slug", ["", "Two Words", "a" * 51, "ÄÖÜ", "-a", "a\n"])
def test_what_can_not_be_a_category_is_an_error(slug):
    message = EmailMessage()
    message.email_category = slug
    with pytest.raises(ValueError, match="not a valid email category"):
        classify(message)


def test_a_rule_of_the_project(settings):
    rules = {f"{__name__}:send_a_newsletter": "newsletter"}
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"CATEGORY_RULES": rules}
    assert send_a_newsletter() == Classification("newsletter", "call site")


def send_a_newsletter():
    return classify(EmailMessage())


def test_djangos_password_reset_is_security(sent, rf):
    User.objects.create_user("someone", "someone@example.com", "pw")
    form = PasswordResetForm({"email": "someone@example.com"})
    assert form.is_valid()
    form.send_mail(
        "wagtailadmin/account/password_reset/email_subject.txt",
        "wagtailadmin/account/password_reset/email.txt",
        {"user": User.objects.get(), "uid": "x", "token": "y"},
        None,
        "someone@example.com",
    )
    assert sent == ["security"]


def test_mail_to_admins_is_error(sent, admins):
    mail_admins("Broken", "Something broke")
    assert sent == ["error"]


def test_every_call_site_still_exists():
    """A release that moves one would silently change where its mail goes."""
    in_extras = {site for package in PACKAGES for site in package.sites}
    known = [site for site in CALL_SITES if site not in in_extras]
    assert known
    assert [site for site in known if not exists(site)] == []


@pytest.mark.parametrize(
    "site",
    [
        ("there_is_no_such_package.mail", "send"),
        ("wagtail_smtp.there_is_no_such_module", "send"),
        ("wagtail_smtp.delivery.routing", "no_such_function"),
        ("wagtail_smtp.delivery.routing", "Package.no_such_method"),
        # Inherited: it runs under the name of Exception's.
        ("wagtail_smtp.exceptions", "EmailDeliveryError.with_traceback"),
    ],
)
def test_a_call_site_that_does_not_exist(site):
    assert not exists(site)


def test_an_installed_package_that_renamed_its_function_is_told(monkeypatch):
    known = ("wagtail_smtp.delivery.routing", "exists")
    renamed = ("wagtail_smtp.delivery.routing", "send_code")
    packages = [
        Package("current", ("wagtail_smtp",), (known,)),
        Package("renamed", ("wagtail_smtp",), (known, renamed)),
        Package("not installed", ("wagtail_smtp", "not_installed"), (renamed,)),
    ]
    monkeypatch.setattr(classify_module, "PACKAGES", packages)
    [warning] = check_call_sites()
    assert (warning.id, warning.obj) == ("wagtail_smtp.W015", "renamed")
    assert "wagtail_smtp.delivery.routing:send_code" in warning.hint
    assert "classify:exists" not in warning.hint
