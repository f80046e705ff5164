"""The outbox: messages to send later or to retry."""
