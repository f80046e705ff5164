"""Explain a configuration: where email goes and why, and what is on without an effect.

These are pure functions on a frozen configuration, saved or live. The admin, the reload and
``smtp_explain`` show their results.
"""
