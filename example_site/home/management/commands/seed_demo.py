"""Fill an empty database; existing data is never changed."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from example_site.home import pages, sets, users


class Command(BaseCommand):
    """``seed_demo``: create the demo's users, pages and settings sets once."""

    help = "Fill the demo's database if it is empty, and update the ports if PORT changed."

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            if users.are_there():
                moved = sets.follow_port()
                pages.follow_port()
                if moved:
                    self.stdout.write(moved)
                return
            admin = users.create()
            pages.create()
            sets.create(admin)
