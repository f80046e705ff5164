"""Bounces of email sent by SMTP: read the messages that mail servers return, and record them."""
