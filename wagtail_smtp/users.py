"""What is known of a user, whatever the project's user model looks like."""

from typing import Any


def address_of(user: Any) -> str:
    """The user's email address; empty without one, or if the model has no field for it."""
    return str(getattr(user, user.get_email_field_name(), "") or "")
