"""Manage in the Wagtail admin how a site sends email.

This module imports no models, so that it can be imported before Django's app registry is ready.
"""

from wagtail_smtp.categories import email_category
from wagtail_smtp.sites import email_site

__version__ = "0.1.0"

__all__ = ["__version__", "email_category", "email_site"]
