"""The live configuration: what is used now, and how that changes."""

from wagtail_smtp.live.lookup import LiveConfiguration, current
from wagtail_smtp.live.publish import make_live, preview, reload
from wagtail_smtp.live.resolve import draft_configuration, live_version

__all__ = [
    "LiveConfiguration",
    "current",
    "draft_configuration",
    "live_version",
    "make_live",
    "preview",
    "reload",
]
