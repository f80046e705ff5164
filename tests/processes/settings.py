"""Settings of processes that tests start; the environment chooses the database."""

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.processes.site"
