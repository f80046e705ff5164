"""Conditions that deserve an alert although no message fails because of them.

Each is found at a limited cost, however many messages are waiting or in the log.
"""
