"""Manage in the Wagtail admin how a site sends email.

This module imports nothing but the categories, so that it can be imported before
Django's app registry is ready.
"""

from wagtail_smtp.categories import email_category

__version__ = "0.1.0"

__all__ = ["__version__", "email_category"]
