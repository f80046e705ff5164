"""The plugin's permissions by name, and who has them."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import FieldError
from wagtail.admin.utils import get_user_display_name

RELOAD = "wagtail_smtp.reload_application"
REDIRECT = "wagtail_smtp.redirect_mail"
CHANGE_METHOD = "wagtail_smtp.change_deliverysettings"
VIEW_VERSIONS = "wagtail_smtp.view_configurationversion"
VIEW_SETS = "wagtail_smtp.view_settingsset"
ADD_SETS = "wagtail_smtp.add_settingsset"
CHANGE_SETS = "wagtail_smtp.change_settingsset"
SEND_TEST = "wagtail_smtp.send_test_email"
VIEW_LOG = "wagtail_smtp.view_logentry"
VIEW_CONTENT = "wagtail_smtp.view_message_content"
RESEND = "wagtail_smtp.resend_message"
EXPORT_LOG = "wagtail_smtp.export_log"
VIEW_SUPPRESSED = "wagtail_smtp.view_suppressedaddress"
ADD_SUPPRESSED = "wagtail_smtp.add_suppressedaddress"
DELETE_SUPPRESSED = "wagtail_smtp.delete_suppressedaddress"

#: Any of these lets a user see sets, versions and what is live.
SEE = (VIEW_SETS, CHANGE_SETS, RELOAD, CHANGE_METHOD, VIEW_VERSIONS)
#: Any of these lets a user see at least part of the *Email delivery* page.
SEE_DELIVERY = (*SEE, SEND_TEST, VIEW_LOG)


def has_any(user: Any, names: Iterable[str]) -> bool:
    """Whether the user has one of the permissions, or none is needed."""
    names = tuple(names)
    return not names or any(map(user.has_perm, names))


def may_see(user: Any) -> bool:
    """Whether the user may see sets, versions and what is live."""
    return has_any(user, SEE)


def may_send_through(user: Any) -> bool:
    """Whether the user may send a test email through a stored set."""
    return user.has_perm(SEND_TEST) and (user.has_perm(VIEW_SETS) or user.has_perm(CHANGE_SETS))


def may_test(user: Any) -> bool:
    """Whether the user may test the connection of a stored set."""
    return user.has_perm(CHANGE_SETS) or may_send_through(user)


def may_decide_about_held(user: Any) -> bool:
    """Whether the user may release and delete messages that came with a copied database."""
    return user.has_perm(VIEW_LOG) and user.has_perm(RESEND)


def names_of_those_who_may(permission: str, limit: int = 5) -> list[str]:
    """Names of active users with ``permission``, to tell others whom to ask."""
    # Not the manager's with_perm(): a custom user manager may not have it.
    try:
        found = ModelBackend().with_perm(permission).order_by("pk")[:limit]
        return [get_user_display_name(user) for user in found]
    except FieldError:
        return []  # a user model that stores permissions elsewhere
