"""Confirming the subscription of Amazon SNS, which brings the reports of Amazon SES.

The address that is asked is made here from the topic, not taken from the request, and no
credentials are needed for it.
"""

import http.client
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from wagtail_smtp.transports import guard
from wagtail_smtp.transports.smtp.tls import ssl_context

#: arn:partition:sns:region:account:name
_TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d):\d{12}:[\w.-]{1,256}"
)
#: Seconds for each step.
_TIMEOUT = 10


def confirm(message: Mapping[str, str]) -> None:
    """Confirm the subscription that ``message`` asks for.

    Raises:
        ValueError: it names no topic.
        OSError: Amazon can't be reached, or doesn't confirm.
    """
    topic, token = str(message.get("TopicArn")), str(message.get("Token"))
    host = _host(topic)
    asked = {"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token}
    connection = http.client.HTTPSConnection(host, timeout=_TIMEOUT)
    context = ssl_context("")
    connection.sock = guard.open_first(
        guard.resolve(host, 443),
        _TIMEOUT,
        lambda plain: context.wrap_socket(plain, server_hostname=host),
    )
    try:
        connection.sock.settimeout(_TIMEOUT)
        connection.request("GET", f"/?{urlencode(asked)}")
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError("Amazon SNS gave no answer that can be read") from error
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"Amazon SNS answered {status}")


def _host(topic: str) -> str:
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise ValueError("no topic of Amazon SNS")
    partition, region = found.groups()
    return f"sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")
