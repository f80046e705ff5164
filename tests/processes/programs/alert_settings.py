"""Settings of processes that send alerts; JSON in the environment chooses the channels."""

import json
import os

from tests.processes.programs.settings import *  # noqa: F403

_chosen = json.loads(os.environ.get("WAGTAIL_SMTP_TEST_ALERTS", "{}"))

# Not locmem: its outbox means that tests are running. Email to ADMINS has a server of its own.
ADMINS = _chosen.pop("ADMINS", [])
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
WAGTAIL_SMTP = {
    **WAGTAIL_SMTP,  # noqa: F405
    "STANDARD": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"},
    "COOL_DOWN": 0.001,
    **_chosen,
}
