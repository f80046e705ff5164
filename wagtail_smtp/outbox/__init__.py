"""Messages that are delivered later, or tried again."""
