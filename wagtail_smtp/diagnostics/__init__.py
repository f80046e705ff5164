"""Check settings sets, send test emails and report the status."""
