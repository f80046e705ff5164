"""A check for django-health-check 4: ``"wagtail_smtp.health.Email"`` among its ``checks``.

Its own check of email only calls ``open()`` of the backend, which connects to nothing here.
"""

import dataclasses

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from wagtail_smtp.diagnostics.health import problems
from wagtail_smtp.live.db.connections import borrowed_connection


@dataclasses.dataclass
class Email(HealthCheck):
    """The configuration can be read, the outbox is processed, and no email failed lately.

    No server is connected to.

    Args:
        tolerated: how many messages may fail in an hour.
    """

    tolerated: int = dataclasses.field(default=0, repr=False)

    def run(self) -> None:
        """Look at the database.

        Raises:
            ServiceUnavailable: something is wrong; the text is fit for a public page.
        """
        with borrowed_connection():
            found = problems(self.tolerated)
        if found:
            raise ServiceUnavailable(" ".join(found))
