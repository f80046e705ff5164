"""Explain failures in plain language."""
