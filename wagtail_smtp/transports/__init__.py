"""What carries a message: an SMTP session, or the project's own backend."""
