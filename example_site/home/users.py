"""The demo's users, one for each role."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission

PASSWORD = "demo"
TESTER_PERMISSIONS = (
    "view_settingsset",
    "change_settingsset",
    "view_configurationversion",
    "reload_application",
    "redirect_mail",
    "send_test_email",
)
ROLES = {
    "admin": "can do everything",
    "mailadmin": "can do everything with email",
    "tester": "can edit sets, reload and redirect",
    "editor": "can edit pages, but not see email settings",
}


def are_there() -> bool:
    """Whether the database already has users."""
    return get_user_model().objects.exists()


def create() -> Any:
    """Create the users with their groups and return the superuser."""
    ours = Permission.objects.filter(content_type__app_label="wagtail_smtp")
    groups = {
        "mailadmin": _group("Mail administrators", ours),
        "tester": _group("Testers", ours.filter(codename__in=TESTER_PERMISSIONS)),
        "editor": Group.objects.get(name="Editors"),
    }
    user_model = get_user_model()
    for name, group in groups.items():
        user = user_model.objects.create_user(name, f"{name}@example.com", PASSWORD)
        user.groups.add(group)
    return user_model.objects.create_superuser("admin", "admin@example.com", PASSWORD)


def _group(name: str, permissions: Any) -> Group:
    group = Group.objects.create(name=name)
    access = Permission.objects.get(content_type__app_label="wagtailadmin", codename="access_admin")
    group.permissions.set([access, *permissions])
    return group
