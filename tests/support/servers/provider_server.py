"""Every provider's server in one: HTTPS on loopback, for whatever host is asked.

Answers are those of anymail's own tests and of the providers' documentation.
"""

import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.servers.smtp_server import server_context


@dataclass
class Request:
    """One request as it arrived."""

    host: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """All of it, as one text to search in."""
        head = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.host}{self.path}\n{head}\n\n{self.body.decode('utf-8', 'replace')}"


@dataclass
class Answer:
    """What the server answers."""

    status: int = 200
    content: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return (
            self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()
        )


#: Instead of an answer: end the connection without one.
HANG_UP = Answer(0)

HOSTS = (
    *("email.eu-west-1.amazonaws.com", "api.brevo.com", "api.mailersend.com"),
    *("api.mailgun.net", "api.eu.mailgun.net", "api.mailjet.com", "send.api.mailtrap.io"),
    *("sandbox.api.mailtrap.io", "mandrillapp.com", "postal.example.com", "api.postmarkapp.com"),
    *("api.resend.com", "api.scaleway.com", "api.sendgrid.com", "api.sparkpost.com"),
    *("go1.unisender.ru", "sns.eu-west-1.amazonaws.com", "localhost", "127.0.0.1"),
)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        """Say nothing: clients may go away."""


class ProviderServer:
    """Start with ``with``. ``answer`` may be replaced at any time."""

    def __init__(self, answer: Answer | Callable[[Request], Answer], *, tls: bool = True) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls

    def __enter__(self) -> "ProviderServer":
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                if outer._tls:
                    try:
                        self.request = outer._context.wrap_socket(self.request, server_side=True)
                    except (ssl.SSLError, OSError):
                        self.is_lost = True
                super().setup()

            def finish(self) -> None:
                super().finish()
                # Wrapped, it is not the one that the server closes.
                self.request.close()

            def handle(self) -> None:
                if not getattr(self, "is_lost", False):
                    super().handle()

            def do_POST(self) -> None:
                self._take()

            do_GET = do_POST

            def _take(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    self.headers.get("Host", ""),
                    self.path,
                    dict(self.headers.items()),
                    self.rfile.read(length),
                )
                outer.requests.append(request)
                answer = outer.answer if isinstance(outer.answer, Answer) else outer.answer(request)
                if not answer.status:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                headers = {"Content-Type": "application/json"} | answer.headers
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._context = server_context(*HOSTS)
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"


@dataclass
class Documented:
    """A provider's options and keys, and its answers to one message.

    ``accepted`` makes the answer for the recipients; ``refused`` is a message or all its
    recipients refused, ``limited`` too many requests, ``wrong_key`` what it says to one.
    """

    options: dict[str, str]
    keys: dict[str, str]
    accepted: Callable[[Sequence[str]], Answer]
    refused: Answer
    limited: Answer
    wrong_key: Answer
    #: What is written down of the message's name.
    identity: str
    host: str


CANARY = "canary-of-a-key-7c1d"


def _fixed(answer: Answer) -> Callable[[Sequence[str]], Answer]:
    return lambda recipients: answer


def _ses(status: int, kind: str, message: str) -> Answer:
    headers = {"x-amzn-errortype": kind, "Content-Type": "application/json"}
    return Answer(status, {"message": message}, headers)


LIMITED = Answer(429, {"message": "Too many requests, slow down"}, {"Retry-After": "1"})

PROVIDERS: dict[str, Documented] = {
    "amazon_ses": Documented(
        {"region_name": "eu-west-1", "aws_access_key_id": "AKIAEXAMPLE"},
        {"aws_secret_access_key": CANARY},
        _fixed(Answer(200, {"MessageId": "1-ses"}, {"Content-Type": "application/json"})),
        _ses(400, "MessageRejected", "The message content is not allowed"),
        _ses(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
        _ses(403, "InvalidClientTokenId", "The security token in the request is invalid."),
        "1-ses",
        "email.eu-west-1.amazonaws.com",
    ),
    "brevo": Documented(
        {},
        {"api_key": CANARY},
        _fixed(Answer(201, {"messageId": "<1@smtp-relay.mailin.fr>"})),
        Answer(400, {"code": "invalid_parameter", "message": "htmlContent is not valid"}),
        LIMITED,
        Answer(401, {"code": "unauthorized", "message": "Key not found"}),
        "<1@smtp-relay.mailin.fr>",
        "api.brevo.com",
    ),
    "mailersend": Documented(
        {},
        {"api_token": CANARY},
        _fixed(Answer(202, b"", {"X-Message-Id": "1-mailersend", "Content-Type": "text/html"})),
        Answer(422, {"message": "The subject is required.", "errors": {"subject": ["required"]}}),
        LIMITED,
        Answer(401, {"message": "Unauthenticated."}),
        "1-mailersend",
        "api.mailersend.com",
    ),
    "mailgun": Documented(
        {"api_url": "https://api.mailgun.net/v3"},
        {"api_key": CANARY},
        _fixed(Answer(200, {"id": "<1@mg.example.com>", "message": "Queued. Thank you."})),
        Answer(400, {"message": "to parameter is not a valid address. please check documentation"}),
        LIMITED,
        Answer(401, b"Forbidden"),
        "<1@mg.example.com>",
        "api.mailgun.net",
    ),
    "mailjet": Documented(
        {"api_key": "public-part"},
        {"secret_key": CANARY},
        lambda recipients: Answer(
            200,
            {
                "Messages": [
                    {
                        "Status": "success",
                        "To": [{"Email": each, "MessageID": 7065} for each in recipients],
                    }
                ]
            },
        ),
        Answer(
            400,
            {
                "Messages": [
                    {
                        "Status": "error",
                        "Errors": [{"ErrorCode": "mj-0013", "ErrorMessage": "invalid address"}],
                    }
                ]
            },
        ),
        LIMITED,
        Answer(401, {"ErrorMessage": "API key authentication/authorization failure."}),
        "7065",
        "api.mailjet.com",
    ),
    "mailtrap": Documented(
        {},
        {"api_token": CANARY},
        lambda recipients: Answer(
            200, {"success": True, "message_ids": ["1-mailtrap"] * len(recipients)}
        ),
        Answer(400, {"success": False, "errors": ["'subject' is required"]}),
        LIMITED,
        Answer(401, {"success": False, "error": "Invalid API token"}),
        "1-mailtrap",
        "send.api.mailtrap.io",
    ),
    "mandrill": Documented(
        {},
        {"api_key": CANARY},
        lambda recipients: Answer(
            200, [{"email": each, "status": "sent", "_id": "1-mandrill"} for each in recipients]
        ),
        Answer(
            200,
            [
                {
                    "email": "to@example.com",
                    "status": "rejected",
                    "_id": "2-mandrill",
                    "reject_reason": "hard-bounce",
                }
            ],
        ),
        LIMITED,
        Answer(500, {"status": "error", "code": -1, "name": "Invalid_Key", "message": "Invalid"}),
        "1-mandrill",
        "mandrillapp.com",
    ),
    "postal": Documented(
        {"api_url": "https://postal.example.com"},
        {"api_key": CANARY},
        lambda recipients: Answer(
            200,
            {
                "status": "success",
                "data": {"messages": {each: {"id": 1503, "token": "t"} for each in recipients}},
            },
        ),
        Answer(400, {"status": "error", "data": {"code": "NoRecipients", "message": "none"}}),
        LIMITED,
        Answer(403, {"status": "error", "data": {"message": "Invalid API key"}}),
        "1503",
        "postal.example.com",
    ),
    "postmark": Documented(
        {},
        {"server_token": CANARY},
        lambda recipients: Answer(
            200,
            {
                "To": ", ".join(recipients),
                "SubmittedAt": "2026-03-12T15:27:50.4468803-05:00",
                "MessageID": "1-postmark",
                "ErrorCode": 0,
                "Message": "OK",
            },
        ),
        Answer(422, {"ErrorCode": 300, "Message": "Zero recipients specified"}),
        Answer(429, {"ErrorCode": 429, "Message": "Rate limit exceeded"}),
        Answer(401, {"ErrorCode": 10, "Message": "No Account or Server API tokens were supplied"}),
        "1-postmark",
        "api.postmarkapp.com",
    ),
    "resend": Documented(
        {},
        {"api_key": CANARY},
        _fixed(Answer(200, {"id": "1-resend"})),
        Answer(422, {"statusCode": 422, "name": "missing_required_field", "message": "No html"}),
        Answer(429, {"statusCode": 429, "name": "rate_limit_exceeded", "message": "2 per second"}),
        Answer(
            400, {"statusCode": 400, "name": "validation_error", "message": "API key is invalid"}
        ),
        "1-resend",
        "api.resend.com",
    ),
    "scaleway": Documented(
        {"project_id": "1-project", "region": "fr-par"},
        {"secret_key": CANARY},
        lambda recipients: Answer(
            200,
            {
                "emails": [
                    {"id": "1-scaleway", "mail_rcpt": each, "status": "new"} for each in recipients
                ]
            },
        ),
        Answer(400, {"message": "invalid argument(s)", "type": "invalid_arguments"}),
        LIMITED,
        Answer(401, {"message": "authentication is denied", "type": "denied_authentication"}),
        "1-scaleway",
        "api.scaleway.com",
    ),
    "sendgrid": Documented(
        {"api_url": "https://api.sendgrid.com/v3/"},
        {"api_key": CANARY},
        _fixed(Answer(202, b"")),
        Answer(400, {"errors": [{"message": "The subject is required.", "field": "subject"}]}),
        Answer(429, {"errors": [{"message": "too many requests", "field": None}]}),
        Answer(401, {"errors": [{"message": "The provided authorization grant is invalid"}]}),
        "",  # django-anymail makes one
        "api.sendgrid.com",
    ),
    "sparkpost": Documented(
        {"api_url": "https://api.sparkpost.com/api/v1/"},
        {"api_key": CANARY},
        lambda recipients: Answer(
            200,
            {
                "results": {
                    "id": "1-sparkpost",
                    "total_accepted_recipients": len(recipients),
                    "total_rejected_recipients": 0,
                }
            },
        ),
        Answer(
            200,
            {
                "results": {
                    "id": "2",
                    "total_accepted_recipients": 0,
                    "total_rejected_recipients": 1,
                }
            },
        ),
        Answer(429, {"errors": [{"message": "Too many requests", "code": "1"}]}),
        Answer(401, {"errors": [{"message": "Unauthorized."}]}),
        "1-sparkpost",
        "api.sparkpost.com",
    ),
    "unisender_go": Documented(
        {"api_url": "https://go1.unisender.ru/ru/transactional/api/v1"},
        {"api_key": CANARY},
        lambda recipients: Answer(
            200, {"status": "success", "job_id": "1rct", "emails": list(recipients)}
        ),
        Answer(
            400,
            {
                "status": "error",
                "code": 204,
                "message": "No valid recipients",
                "failed_emails": {"to@example.com": "invalid"},
            },
        ),
        LIMITED,
        Answer(401, {"status": "error", "code": 102, "message": "Can't find user"}),
        "",  # django-anymail makes one
        "go1.unisender.ru",
    ),
}
