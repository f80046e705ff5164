"""Amazon SES: boto3 without this machine's AWS configuration, over allowed addresses only.

Imported only if boto3 is installed.
"""

import os
from typing import Any

import botocore.session
import requests
from botocore.awsrequest import AWSResponse
from django.views.decorators.debug import sensitive_variables

#: Ignore this machine's profiles and files: only the set's options apply.
_NOTHING = (None, None, None, None)
_NO_FILE = (None, None, os.devnull, None)


@sensitive_variables()
def parameters(arguments: dict[str, Any], url: str) -> dict[str, Any]:
    """Move the set's options from ``arguments`` into the parameters that the backend needs."""
    session = botocore.session.Session(
        {"profile": _NOTHING, "config_file": _NO_FILE, "credentials_file": _NO_FILE}
    )
    session.set_config_variable("metadata_service_num_attempts", 0)
    names = ("region_name", "aws_access_key_id", "aws_secret_access_key")
    client = {name: arguments.pop(name) for name in names}
    client |= {
        "endpoint_url": url.rstrip("/"),
        "verify": True,
        "config": {
            "ignore_configured_endpoint_urls": True,
            "proxies": {},
            "retries": {"total_max_attempts": 1},
            "signature_version": "v4",
        },
    }
    return {"session_params": {"botocore_session": session}, "client_params": client}


def send_by(client: Any, adapter: Any) -> None:
    """Send the client's requests through ``adapter``, an HTTP adapter for requests."""

    @sensitive_variables()
    def send(request: Any, **kwargs: Any) -> AWSResponse:
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        prepared = requests.Request(
            request.method, request.url, headers=headers, data=request.body
        ).prepare()
        response = adapter.send(prepared)
        return AWSResponse(request.url, response.status_code, response.headers, response.raw)

    client.meta.events.register("before-send.sesv2", send)
