"""The settings of a small Wagtail project with the plugin installed."""

import base64
import os
from pathlib import Path

import django

from example_site import places


def kept_secret(name: str) -> str:
    """Return a random key, created once and stored in the data folder."""
    path: Path = places.DIRECTORY / name
    places.DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.urlsafe_b64encode(os.urandom(32)))
    return path.read_text()


SECRET_KEY = kept_secret("secret_key")
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
ROOT_URLCONF = "example_site.urls"
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = places.DIRECTORY / "media"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
WAGTAIL_SITE_NAME = "wagtail-smtp demo"
# The demo makes no requests to the internet.
WAGTAIL_GRAVATAR_PROVIDER_URL = None
WAGTAIL_ENABLE_UPDATE_CHECK = False
WAGTAIL_ENABLE_WHATS_NEW_BANNER = False
WAGTAILADMIN_BASE_URL = f"http://{places.HOST}:{places.site_port()}"

INSTALLED_APPS = [
    "wagtail_smtp",  # before wagtail.admin
    "example_site.home",
    "example_site.inbox",
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
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
X_FRAME_OPTIONS = "SAMEORIGIN"  # Wagtail shows previews in a frame
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": places.DIRECTORY / "db.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}

# Email: the plugin is the backend; a local SMTP server is standard delivery.
DEFAULT_FROM_EMAIL = "Example site <site@example.com>"
SERVER_EMAIL = "errors@example.com"
ADMINS = ["admin@example.com"] if django.VERSION >= (6, 0) else [("Admin", "admin@example.com")]
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "wagtail_smtp.backend.EmailBackend"}}
else:
    EMAIL_BACKEND = "wagtail_smtp.backend.EmailBackend"
WAGTAIL_SMTP = {
    "STANDARD": {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "OPTIONS": {
            "host": places.HOST,
            "port": places.OWN.port,
            "username": places.OWN.username,
            "password": places.OWN.password,
            "timeout": 10,
        },
    },
    "ENCRYPTION_KEYS": [kept_secret("encryption_key")],
    "CATEGORIES": {"invoice": "Invoices"},
    # Space-separated; the demo's domains aren't its own, so it asks no name servers.
    "DNS_SERVERS": os.environ.get("DEMO_DNS_SERVERS", "").split(),
    "ALLOWED_NETWORKS": ["127.0.0.0/8"],  # the demo's servers listen on unusual ports
}
