"""What a failure means, in plain language."""
