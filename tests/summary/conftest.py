"""A site that sends, and users who chose to get the summary."""

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from wagtail.users.models import UserProfile

from wagtail_smtp.models import SummarySubscription
from wagtail_smtp.summary import subscriptions


@pytest.fixture
def office(smtp_server, make_set, reload):
    """The server of the live set."""
    make_set(smtp_server, name="Office")
    reload()
    return smtp_server


@pytest.fixture
def subscribe(db):
    """Create a user who has been waiting for a summary: ``subscribe("ada", "weekly", …)``."""

    def make(name="ada", frequency="weekly", *, permissions=("view_logentry",), language="", **own):
        values = {"email": f"{name}@example.com", "is_active": True} | own
        user = User.objects.create_user(name, password="pw", **values)
        user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
        UserProfile.objects.create(user=user, preferred_language=language)
        subscriptions.choose(user, frequency)
        wait(user)
        return user

    return make


def wait(user, days=7):
    """Let the user's last summary be older."""
    row = SummarySubscription.objects.get(user=user)
    row.sent_until -= timedelta(days=days)
    row.save()


def moment(text):
    """A time in the site's time zone, as stored."""
    return timezone.make_aware(datetime.fromisoformat(text))


def last_week(days=0):
    """Noon on Monday of the week that the latest weekly summary is about, or ``days`` later."""
    first = subscriptions.latest_period("weekly").first + timedelta(days=days)
    return moment(f"{first}T12:00")
