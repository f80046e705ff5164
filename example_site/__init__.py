"""A Wagtail site to try wagtail-smtp on, with SMTP servers of its own."""
