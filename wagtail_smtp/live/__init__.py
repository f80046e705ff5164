"""The live configuration: what is in force, and how that changes."""

from wagtail_smtp.live.draft import draft_configuration, live_version
from wagtail_smtp.live.look_up import LiveConfiguration, current
from wagtail_smtp.live.reload import make_live, preview, reload

__all__ = [
    "LiveConfiguration",
    "current",
    "draft_configuration",
    "live_version",
    "make_live",
    "preview",
    "reload",
]
