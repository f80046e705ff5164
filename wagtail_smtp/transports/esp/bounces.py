"""Which events of email providers mean that an address must not be emailed again.

django-anymail reports full mailboxes, refusals by policy and temporary errors of some providers
as *bounced* too, and one's content filter as *complained*. So the provider's own event decides.
Each provider's documentation of its webhooks is the source.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

#: For each provider, the values of fields of a hard bounce, by their path in the event. All of them
#: must match. A provider without an entry doesn't distinguish hard bounces.
_HARD: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "amazon_ses": {"bounce.bounceType": ("Permanent",)},
    "brevo": {"event": ("hard_bounce", "invalid_email")},
    "mailersend": {"data.type": ("hard_bounced",)},
    "mailgun": {
        "event-data.severity": ("permanent",),
        "event-data.reason": ("bounce", "suppress-bounce"),
    },
    "mailjet": {
        "hard_bounce": (True, "True", "true", 1, "1"),
        "error": ("user unknown", "mailbox inactive", "invalid domain", "no mail host"),
    },
    "mailtrap": {"event": ("bounce",)},
    "mandrill": {"event": ("hard_bounce",)},
    "postmark": {"Type": ("HardBounce",)},
    "resend": {"data.bounce.type": ("Permanent",)},
    "sendgrid": {"event": ("bounce",), "type": ("bounce",)},
    # Invalid recipient, and a bounce without a mailbox.
    "sparkpost": {"msys.message_event.bounce_class": ("10", "30")},
    "unisender_go": {"delivery_info.delivery_status": ("err_user_unknown", "err_user_inactive")},
}
#: Values of fields with which *complained* doesn't mean that a recipient reported spam.
_NO_COMPLAINT: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "amazon_ses": {"complaint.complaintFeedbackType": ("not-spam", "virus", "auth-failure")},
    "postmark": {"Type": ("SpamNotification",)},
}
#: Enhanced status codes (RFC 3463) of a policy and of a full mailbox, anywhere in a response.
_OTHER_REASON = re.compile(r"\b5\.(?:7\.\d+|2\.2)\b")


def suppresses(
    slug: str, event_type: str, event: object, response: object = ""
) -> Literal["", "bounced", "complained"]:
    """Why an event suppresses its address; empty if it doesn't.

    Args:
        slug: the provider's.
        event_type: django-anymail's.
        event: the provider's own event.
        response: that of the recipient's mail server, if the event contains it.
    """
    if event_type == "complained":
        is_other = slug in _NO_COMPLAINT and _matches(event, _NO_COMPLAINT[slug])
        return "" if is_other else "complained"
    if event_type != "bounced" or slug not in _HARD or not _matches(event, _HARD[slug]):
        return ""
    return "" if _OTHER_REASON.search(str(response or "")) else "bounced"


def _matches(event: object, fields: Mapping[str, tuple[object, ...]]) -> bool:
    return all(_value(event, path) in values for path, values in fields.items())


def _value(event: object, path: str) -> object:
    found: Any = event
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str | int | bool) else None
