"""The services that alerts can be sent to with Apprise.

Only services that are told by HTTPS are listed. Others are left out on purpose: email services, to
which ADMINS' email would bypass a redirect, and whatever runs programs, shows something on the
machine's own screen, or has no timeouts.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """A service.

    Attributes:
        label: its name; a proper name isn't translated.
        module: of Apprise, in ``apprise.plugins``.
        schemes: what its URLs begin with.
    """

    label: str
    module: str
    schemes: tuple[str, ...]


SERVICES = (
    Service("46elks", "fortysixelks", ("46elks", "elks")),
    Service("Amazon SNS", "sns", ("sns",)),
    Service("Apprise API", "apprise_api", ("apprise", "apprises")),
    Service("Bark", "bark", ("bark", "barks")),
    Service("Better Stack", "betterstack", ("betterstack",)),
    Service("BulkSMS", "bulksms", ("bulksms",)),
    Service("Clickatell", "clickatell", ("clickatell",)),
    Service("ClickSend", "clicksend", ("clicksend",)),
    Service("DingTalk", "dingtalk", ("dingtalk",)),
    Service("Discord", "discord", ("discord",)),
    Service("Feishu", "feishu", ("feishu",)),
    Service("Flock", "flock", ("flock",)),
    Service("Google Chat", "google_chat", ("gchat",)),
    Service("Gotify", "gotify", ("gotify", "gotifys")),
    Service("Home Assistant", "home_assistant", ("hassio", "hassios")),
    Service("IFTTT", "ifttt", ("ifttt",)),
    Service("ilert", "ilert", ("ilert",)),
    Service("incident.io", "incidentio", ("incidentio",)),
    Service("Infobip", "infobip", ("infobip",)),
    Service("Lark", "lark", ("lark",)),
    Service("LINE", "line", ("line",)),
    Service("Mastodon", "mastodon", ("mastodon", "mastodons", "toot", "toots")),
    Service("Matrix", "matrix.base", ("matrix", "matrixs")),
    Service("Mattermost", "mattermost", ("mmost", "mmosts")),
    Service("MessageBird", "messagebird", ("msgbird",)),
    Service("Microsoft Teams", "workflows", ("workflow", "workflows")),
    Service("Nextcloud Talk", "nextcloudtalk", ("nctalk", "nctalks")),
    Service("Nextcloud", "nextcloud", ("ncloud", "nclouds")),
    Service("ntfy", "ntfy", ("ntfy", "ntfys")),
    Service("Opsgenie", "opsgenie", ("opsgenie",)),
    Service("PagerDuty", "pagerduty", ("pagerduty",)),
    Service("PagerTree", "pagertree", ("pagertree",)),
    Service("Pushbullet", "pushbullet", ("pbul",)),
    Service("Pushover", "pushover", ("pover",)),
    Service("RingCentral", "ringcentral", ("ringc",)),
    Service("Rocket.Chat", "rocketchat", ("rocket", "rockets")),
    Service("seven", "seven", ("seven",)),
    Service("Signal", "signal_api", ("signal", "signals")),
    Service("SIGNL4", "signl4", ("signl4",)),
    Service("Sinch", "sinch", ("sinch",)),
    Service("Slack", "slack", ("slack",)),
    Service("Splunk On-Call", "splunk", ("splunk", "victorops")),
    Service("Squadcast", "squadcast", ("squadcast",)),
    Service("Synology Chat", "synology", ("synology", "synologys")),
    Service("Telegram", "telegram", ("tgram",)),
    Service("Threema", "threema", ("threema",)),
    Service("Twilio", "twilio", ("twilio",)),
    Service("Vonage", "vonage", ("nexmo", "vonage")),
    Service("Webex", "webexteams", ("webex", "wxteams")),
    Service("Webhook", "custom_json", ("json", "jsons")),
    Service("WhatsApp", "whatsapp", ("whatsapp",)),
    Service("Zoom", "zoom", ("zoom",)),
    Service("Zulip", "zulip", ("zulip",)),
)
_BY_SCHEME = {scheme: service for service in SERVICES for scheme in service.schemes}


def scheme(url: str) -> str:
    """Return what a URL begins with, in lower case; empty if it isn't a scheme."""
    name, separator, _rest = url.partition("://")
    is_scheme = separator and name.replace("-", "").replace("+", "").replace(".", "").isalnum()
    return name.lower() if is_scheme and name.isascii() and len(name) <= 20 else ""


def service_of(url: str) -> Service | None:
    """Return the service of an Apprise URL; None if there is none, or it isn't allowed."""
    return _BY_SCHEME.get(scheme(url))
