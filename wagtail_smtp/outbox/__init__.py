"""Messages accepted now and delivered later, and those tried again."""
