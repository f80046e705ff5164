"""Transports send messages: SMTP servers, email providers and the project's own backend."""
