"""How the webhooks of each email provider are verified: django-anymail's views and their keys."""

import base64
import http.client
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.utils.module_loading import import_string

from wagtail_smtp.transports import guard
from wagtail_smtp.transports.esp.catalog import ESP, PROVIDERS, Webhook
from wagtail_smtp.transports.tls import ssl_context


def webhook_of(slug: str) -> Webhook | None:
    """The webhook of the email provider ``slug``; None: it has no delivery tracking."""
    provider = PROVIDERS.get(slug)
    return provider.webhook if provider else None


def build_view(slug: str, webhook: Webhook, basic_auth: str, key: str, url: str) -> Any:
    """Create django-anymail's view for one request.

    Args:
        basic_auth: ``user:password``, as in the address entered at the provider.
        key: the signing key; may be empty.
        url: that address.

    Raises:
        ImportError: django-anymail, or a package that it needs for this provider, is missing.
    """
    options = dict(webhook.options) | {"webhook_secret": [basic_auth]}
    if webhook.key:
        options[webhook.key] = key or None
    if webhook.url_option:
        options[webhook.url_option] = url
    return import_string(f"anymail.webhooks.{slug}.{webhook.view}")(**options)


def normalize_key(webhook: Webhook, key: str) -> str:
    """A key as the view expects it; of a public key, only the base64 text of its PEM file."""
    if not webhook.is_public_key:
        return key.strip()
    return "".join(re.sub("-----[A-Z ]+-----", "", key).split())


def check_key(provider: ESP, key: str) -> None:
    """Raise an error of the provider's library if the key is not valid."""
    assert provider.webhook is not None
    build_view(provider.slug, provider.webhook, "user:password", key, "https://www.example.com/")
    if provider.webhook.is_public_key:
        load_der_public_key(base64.b64decode(key, validate=True))


def basic_auth(request: Any) -> str | None:
    """The user name and password of a request, as ``user:password``."""
    return cast("str | None", import_string("anymail.utils.get_request_basic_auth")(request))


#: arn:partition:sns:region:account:name
_TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d):\d{12}:[\w.-]{1,256}"
)
#: Seconds for each step.
_TIMEOUT = 10


def confirm_sns_subscription(message: Mapping[str, str]) -> None:
    """Confirm the Amazon SNS subscription that ``message`` asks for.

    The message's own URL isn't used: this connects to the region in the topic's ARN.

    Raises:
        ValueError: the message has no valid topic.
        OSError: Amazon can't be reached or refuses.
    """
    topic, token = str(message.get("TopicArn")), str(message.get("Token"))
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise ValueError("This is not an Amazon SNS topic.")
    partition, region = found.groups()
    host = f"sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")
    query = {"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token}
    connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT)
    context = ssl_context("")
    connection.sock = guard.open_first(
        guard.resolve(host, 443),
        _TIMEOUT,
        lambda plain: context.wrap_socket(plain, server_hostname=host),
    )
    try:
        connection.sock.settimeout(_TIMEOUT)
        connection.request("GET", f"/?{urlencode(query)}")
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError("Amazon SNS sent an invalid response.") from error
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"Amazon SNS responded with status {status}.")
