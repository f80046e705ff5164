"""Delivery reports: what providers tell by webhooks, checked by django-anymail's views."""
