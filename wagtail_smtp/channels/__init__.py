"""Where alerts go: email to ADMINS, and the channels in ``WAGTAIL_SMTP["ALERTS"]``."""
