"""The tests' project with a few things changed, given as JSON in the variable WALK."""

import json
import os
import sys

from tests.settings import *

CHANGES = json.loads(os.environ.get("WALK", "{}"))

# Packages as if they weren't installed.
sys.modules.update(dict.fromkeys(CHANGES.pop("without", ())))

ADMINS = [("Admin", "admin@example.com")] if django.VERSION < (6, 0) else ["admin@example.com"]
WAGTAIL_SMTP = {
    **WAGTAIL_SMTP,
    "STANDARD": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"},
}
TEMPLATES[0]["OPTIONS"]["debug"] = False
MIDDLEWARE = [*MIDDLEWARE, *CHANGES.pop("middleware", ())]
DATABASES["default"] |= CHANGES.pop("database", {})
for alias in CHANGES.pop("databases", ()):
    DATABASES[alias] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
if not CHANGES.pop("mailers", True):
    del globals()["MAILERS"]
    EMAIL_BACKEND = "wagtail_smtp.backend.EmailBackend"
if CHANGES.get("STATIC_ROOT"):
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }
if users := CHANGES.get("AUTH_USER_MODEL"):
    INSTALLED_APPS.insert(0, f"tests.configurations.{users.partition('.')[0]}")
globals().update(CHANGES)
