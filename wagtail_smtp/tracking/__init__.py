"""Delivery tracking: events that email providers send to a webhook."""
