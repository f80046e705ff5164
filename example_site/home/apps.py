"""The demo's pages."""

from django.apps import AppConfig


class HomeConfig(AppConfig):
    """Pages, the invoice and the command that fills the database."""

    name = "example_site.home"
    label = "home"
    verbose_name = "Demo pages"
