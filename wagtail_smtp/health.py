"""A check for django-health-check 4: add ``"wagtail_smtp.health.Email"`` to its ``checks``.

The library's own email check only calls the backend's ``open()``, which doesn't connect here.
"""

import dataclasses

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from wagtail_smtp.diagnostics.status import problems
from wagtail_smtp.live.db.connections import borrowed_connection


@dataclasses.dataclass
class Email(HealthCheck):
    """Check that email can be sent: configuration, outbox and recent failures.

    This doesn't connect to a mail server.

    Args:
        tolerated: how many messages may fail in an hour.
    """

    tolerated: int = dataclasses.field(default=0, repr=False)

    def run(self) -> None:
        """Run the check.

        Raises:
            ServiceUnavailable: there is a problem. Its text may be shown on a public page.
        """
        with borrowed_connection():
            found = problems(self.tolerated)
        if found:
            raise ServiceUnavailable(" ".join(found))
