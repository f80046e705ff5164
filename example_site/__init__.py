"""A demo site for wagtail-smtp, with its own SMTP servers."""
