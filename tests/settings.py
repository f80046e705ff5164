"""A Wagtail project with the plugin installed as the README says."""

import json
import os
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "for the tests only, and long enough to derive keys from"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
LANGUAGE_CODE = "en"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
WAGTAIL_SITE_NAME = "wagtail-smtp tests"
WAGTAILADMIN_BASE_URL = "http://testserver"
DEFAULT_FROM_EMAIL = "site@example.com"
SERVER_EMAIL = "root@example.com"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "wagtail_smtp",
    "wagtail.contrib.forms",
    "wagtail.sites",
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

if os.environ.get("WAGTAIL_SMTP_TEST_DATABASE") == "postgresql":
    # Wagtail's search uses its fields there, and Django 6.1 checks for that.
    INSTALLED_APPS.append("django.contrib.postgres")
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ.get("PGDATABASE", "postgres"),
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "OPTIONS": json.loads(os.environ.get("WAGTAIL_SMTP_TEST_POSTGRESQL_OPTIONS", "{}")),
        }
    }
elif os.environ.get("WAGTAIL_SMTP_TEST_DATABASE") == "mariadb":
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": os.environ["WAGTAIL_SMTP_TEST_MARIADB_NAME"],
            "USER": "wagtail_smtp",
            # The server's own may be latin1.
            "TEST": {"CHARSET": "utf8mb4"},
            "OPTIONS": {
                "unix_socket": os.environ["WAGTAIL_SMTP_TEST_MARIADB_SOCKET"],
                "charset": "utf8mb4",
                **json.loads(os.environ.get("WAGTAIL_SMTP_TEST_MARIADB_OPTIONS", "{}")),
            },
        }
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("WAGTAIL_SMTP_TEST_SQLITE", ":memory:"),
            "OPTIONS": {"timeout": 20},
        }
    }

WAGTAIL_SMTP = {
    "STANDARD": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"},
    # The tests' SMTP servers listen on free high ports.
    "ALLOWED_NETWORKS": ["127.0.0.0/8", "::1/128"],
    "CATEGORIES": {"invoice": "Invoices"},
    # No test asks the internet.
    "DNS_SERVERS": [],
}
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "wagtail_smtp.backend.EmailBackend"}}
else:
    EMAIL_BACKEND = "wagtail_smtp.backend.EmailBackend"
