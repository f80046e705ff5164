"""Admin users, and form data as a browser posts it."""

import pytest
from django.contrib.auth.models import Permission, User


@pytest.fixture
def make_user(db):
    """Create a user with these permissions: ``make_user("change_settingsset", …)``."""

    def make(*codenames, name="someone"):
        user = User.objects.create_user(name, f"{name}@example.com", "pw")
        wanted = Permission.objects.filter(codename__in=["access_admin", *codenames])
        user.user_permissions.add(*wanted)
        return user

    return make


@pytest.fixture
def admin_client(client, db):
    """The client of a logged-in superuser."""
    user = User.objects.create_superuser("boss", "boss@example.com", "pw", first_name="Bo")
    client.force_login(user)
    client.user = user
    return client


def form_data(reports=(), **values):
    """The data that the form of a set posts."""
    data = {
        "name": "Office",
        "enabled": "on",
        "transport": "smtp",
        "host": "smtp.example.com",
        "port": "587",
        "encryption": "starttls",
        "timeout": "10",
        "authentication": "password",
        "username": "user@example.com",
        "password": "canary-5f1e",
        "mailbox_port": "993",
        "mailbox_encryption": "ssl",
        "mailbox_folder": "INBOX",
        "report_emails-TOTAL_FORMS": str(len(reports)),
        "report_emails-INITIAL_FORMS": "0",
        "report_emails-MIN_NUM_FORMS": "0",
        "report_emails-MAX_NUM_FORMS": "1000",
    }
    for i, address in enumerate(reports):
        data |= {
            f"report_emails-{i}-address": address,
            f"report_emails-{i}-enabled": "on",
            f"report_emails-{i}-ORDER": str(i + 1),
            f"report_emails-{i}-id": "",
        }
    data |= values
    return {key: value for key, value in data.items() if value is not None}
