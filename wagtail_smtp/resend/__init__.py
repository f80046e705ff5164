"""Sending messages of the delivery log again: one, or everything that failed."""

from wagtail_smtp.resend.once import can_resend, resend

__all__ = ["can_resend", "resend"]
