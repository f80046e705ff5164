"""The summary by email: who gets it and when, what it says, and how it is sent once."""
