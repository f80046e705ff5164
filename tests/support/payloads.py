"""What each provider posts, signed as it signs; after the examples of django-anymail's tests."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from svix.webhooks import Webhook

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WHY = "550 5.1.1 User unknown"


def public(key: Any) -> str:
    """A public key as the providers show it: the middle of a PEM file."""
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "".join(pem.decode().splitlines()[1:-1])


@dataclass(frozen=True)
class Post:
    """The body of a request and its headers."""

    body: bytes
    headers: dict[str, str]
    content_type: str = "application/json"


@dataclass(frozen=True)
class Sample:
    """A provider: what it posts of a message, and the key its posts are signed with."""

    delivered: Callable[[str, str], Any]
    bounced: Callable[[str, str], Any]
    message_id: str
    key: str = ""
    other_key: str = ""
    sign: Callable[[Any, str, str], Post] | None = None

    def post(self, data: Any, *, key: str = "", url: str = "") -> Post:
        """The request, signed with the key or another."""
        if self.sign is None:
            return Post(json.dumps(data).encode(), {})
        return self.sign(data, key or self.key, url)


def _hmac(key: str, content: bytes, digest: str = "sha256") -> Any:
    return hmac.new(key.encode(), content, digest)


def _mailgun(data: Any, key: str, url: str) -> Post:
    token, at = hashlib.sha256(json.dumps(data).encode()).hexdigest(), "1534108637"
    signature = _hmac(key, f"{at}{token}".encode()).hexdigest()
    block = {"timestamp": at, "token": token, "signature": signature}
    return Post(json.dumps({"signature": block, "event-data": data}).encode(), {})


def _mailersend(data: Any, key: str, url: str) -> Post:
    body = json.dumps(data).replace("/", "\\/").encode()
    return Post(body, {"Signature": _hmac(key, body).hexdigest()})


def _mailtrap(data: Any, key: str, url: str) -> Post:
    body = json.dumps(data).encode()
    return Post(body, {"Mailtrap-Signature": _hmac(key, body).hexdigest()})


def _mandrill(data: Any, key: str, url: str) -> Post:
    events = json.dumps(data)
    signed = _hmac(key, f"{url}mandrill_events{events}".encode(), "sha1").digest()
    return Post(
        urlencode({"mandrill_events": events}).encode(),
        {"X-Mandrill-Signature": base64.b64encode(signed).decode()},
        "application/x-www-form-urlencoded",
    )


def _postal(data: Any, key: str, url: str) -> Post:
    body = json.dumps(data).encode()
    signed_with = RSA_KEY if key == public(RSA_KEY) else rsa.generate_private_key(65537, 2048)
    signature = signed_with.sign(body, padding.PKCS1v15(), hashes.SHA1())
    return Post(body, {"X-Postal-Signature": base64.b64encode(signature).decode()})


def _resend(data: Any, key: str, url: str) -> Post:
    body, now = json.dumps(data), datetime.now(UTC)
    name = f"msg_{hashlib.sha256(body.encode()).hexdigest()[:24]}"
    signature = Webhook(key).sign(msg_id=name, timestamp=now, data=body)
    sent = {"svix-timestamp": str(int(now.timestamp())), "svix-signature": signature}
    return Post(body.encode(), {"svix-id": name} | sent)


def _sendgrid(data: Any, key: str, url: str) -> Post:
    body, at = json.dumps(data).encode(), "1461095250"
    private = EC_KEY if key == public(EC_KEY) else ec.generate_private_key(ec.SECP256R1())
    signature = private.sign(at.encode() + body, ec.ECDSA(hashes.SHA256()))
    name = "X-Twilio-Email-Event-Webhook"
    return Post(
        body, {f"{name}-Signature": base64.b64encode(signature).decode(), f"{name}-Timestamp": at}
    )


def _unisender_go(data: Any, key: str, url: str) -> Post:
    data = data if isinstance(data, dict) else {"events_by_user": data}
    text = json.dumps({"auth": "PLACEHOLDER", **data}, separators=(",", ":"))
    signed = hashlib.md5(text.replace("PLACEHOLDER", key).encode()).hexdigest()
    return Post(text.replace("PLACEHOLDER", signed).encode(), {})


def _amazon_ses(data: Any, key: str, url: str) -> Post:
    text = json.dumps(data) + "\n"
    message = {
        "Type": "Notification",
        "MessageId": hashlib.sha256(text.encode()).hexdigest()[:36],
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:SES_Events",
        "Message": text,
        "Timestamp": "2018-03-26T17:58:59.675Z",
    }
    return sns(message)


def sns(message: dict[str, str]) -> Post:
    """A request of Amazon SNS."""
    headers = {
        "x-amz-sns-message-type": message["Type"],
        "x-amz-sns-message-id": message["MessageId"],
    }
    return Post(json.dumps(message).encode(), headers, "text/plain; charset=UTF-8")


def _ses_mail(to: str, message_id: str) -> dict[str, Any]:
    return {"messageId": message_id, "destination": [to, "mary@example.com"], "headers": []}


def _mailgun_data(event: str, to: str, message_id: str, **values: Any) -> dict[str, Any]:
    headers = {"to": to, "message-id": message_id, "from": "test@example.org"}
    known = {"timestamp": 1534108637.153125, "user-variables": {}, "tags": []}
    return known | {"event": event, "recipient": to, "message": {"headers": headers}} | values


def _mailersend_data(event: str, to: str, message_id: str, morph: Any = None) -> dict[str, Any]:
    email = {"message": {"id": message_id}, "recipient": {"email": to}}
    data = {"id": f"63fd-{event}", "type": event, "created_at": "2023-02-27T21:09:51.865000Z"}
    return {"type": f"activity.{event}", "data": data | {"email": email, "morph": morph}}


def _postal_message(to: str, message_id: str) -> dict[str, Any]:
    return {"id": int(message_id), "token": "zw6psSlgo6ki", "to": to, "tag": None}


def _resend_data(event: str, to: str, message_id: str, **values: Any) -> dict[str, Any]:
    data = {"email_id": message_id, "to": [to], "from": "from@example.com"} | values
    return {"type": f"email.{event}", "created_at": "2023-09-28T17:19:44.823Z", "data": data}


def _sparkpost_data(event: str, to: str, message_id: str, **values: Any) -> list[Any]:
    told = {"type": event, "event_id": f"84{event}", "raw_rcpt_to": to, "timestamp": "1464824548"}
    return [{"msys": {"message_event": told | {"transmission_id": message_id} | values}}]


SAMPLES = {
    "amazon_ses": Sample(
        lambda to, id: {
            "notificationType": "Delivery",
            "mail": _ses_mail(to, id),
            "delivery": {"recipients": [to], "smtpResponse": "250 ok"},
        },
        lambda to, id: {
            "notificationType": "Bounce",
            "mail": _ses_mail(to, id),
            "bounce": {
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "bouncedRecipients": [{"emailAddress": to, "diagnosticCode": WHY}],
            },
        },
        "0000014644fe5ef6-9a483358-9170-4cb4-a269-f5dcdf415321-000000",
        sign=_amazon_ses,
    ),
    "brevo": Sample(
        lambda to, id: {
            "event": "delivered",
            "email": to,
            "ts_epoch": 1520363423000,
            "message-id": id,
        },
        lambda to, id: {
            "event": "hard_bounce",
            "email": to,
            "ts_epoch": 1520363423000,
            "message-id": id,
            "reason": f" RecipientError: {WHY}",
        },
        "<201803011158.9876543210@smtp-relay.mailin.fr>",
    ),
    "mailersend": Sample(
        lambda to, id: _mailersend_data("delivered", to, id),
        lambda to, id: _mailersend_data(
            "hard_bounced", to, id, {"object": "recipient_bounce", "reason": WHY}
        ),
        "63fd1c1d5f010335ed07066b",
        "signing-secret",
        "another-secret",
        _mailersend,
    ),
    "mailgun": Sample(
        lambda to, id: _mailgun_data(
            "delivered", to, id, **{"delivery-status": {"code": 250, "message": "OK"}}
        ),
        lambda to, id: _mailgun_data(
            "failed",
            to,
            id,
            severity="permanent",
            reason="bounce",
            **{"delivery-status": {"code": 550, "message": WHY}},
        ),
        "20180812211713.1.DF5966851B4BAA99@example.org",
        "signing-key",
        "another-key",
        _mailgun,
    ),
    "mailjet": Sample(
        lambda to, id: [{"event": "sent", "time": 1498093527, "MessageID": int(id), "email": to}],
        lambda to, id: [
            {
                "event": "bounce",
                "time": 1498093527,
                "MessageID": int(id),
                "email": to,
                "hard_bounce": True,
                "error": "user unknown",
                "smtp_reply": WHY,
            }
        ],
        "12345678901234567",
    ),
    "mailtrap": Sample(
        lambda to, id: {
            "events": [
                {
                    "event": "delivery",
                    "timestamp": 1498093527,
                    "message_id": id,
                    "email": to,
                    "event_id": "bede7236-2284-43d6-a953-1fdcafd0fdbc",
                }
            ]
        },
        lambda to, id: {
            "events": [
                {
                    "event": "bounce",
                    "timestamp": 1498093527,
                    "message_id": id,
                    "email": to,
                    "event_id": "cede7236-2284-43d6-a953-1fdcafd0fdbc",
                    "response": WHY,
                    "response_code": 550,
                    "bounce_category": "hard",
                }
            ]
        },
        "1df37d17-0286-4d8b-8edf-bc4ec5be86e6",
        "signature-secret",
        "another-secret",
        _mailtrap,
    ),
    "mandrill": Sample(
        # It tells no more of a delivery than that it was sent.
        lambda to, id: [
            {"event": "send", "_id": id, "ts": 1461095246, "msg": {"email": to, "_id": id}}
        ],
        lambda to, id: [
            {
                "event": "hard_bounce",
                "_id": id,
                "ts": 1461095246,
                "msg": {"email": to, "_id": id, "bounce_description": "bad_mailbox", "diag": WHY},
            }
        ],
        "abcdef012345789abcdef012345789",
        "webhook-key",
        "another-key",
        _mandrill,
    ),
    "postal": Sample(
        lambda to, id: {
            "event": "MessageSent",
            "timestamp": 1606753101.354368,
            "payload": {"message": _postal_message(to, id), "status": "Sent", "output": "250 OK"},
            "uuid": "58e8d7ee-2cd5-4db2-9af3-3f436105795a",
        },
        lambda to, id: {
            "event": "MessageBounced",
            "timestamp": 1606753101.961181,
            "payload": {
                "original_message": _postal_message(to, id),
                "bounce": {"id": 233864, "to": "bk87jw@psrp.postal.example.com"},
                "output": WHY,
            },
            "uuid": "0fcc831f-92b9-4e2b-97f2-d873abc77fab",
        },
        "1563",
        public(RSA_KEY),
        "another",
        _postal,
    ),
    "postmark": Sample(
        lambda to, id: {
            "RecordType": "Delivery",
            "MessageID": id,
            "Recipient": to,
            "DeliveredAt": "2014-08-01T13:28:10.2735393-04:00",
        },
        lambda to, id: {
            "RecordType": "Bounce",
            "ID": 901542550,
            "Type": "HardBounce",
            "MessageID": id,
            "Email": to,
            "Details": f"smtp;{WHY}",
            "BouncedAt": "2016-04-27T16:28:50.3963933-04:00",
        },
        "2706ee8a-737c-4285-b032-ccd317af53ed",
    ),
    "resend": Sample(
        lambda to, id: _resend_data("delivered", to, id),
        lambda to, id: _resend_data(
            "bounced",
            to,
            id,
            bounce={
                "type": "Permanent",
                "subType": "General",
                "message": f"sent a hard bounce message, {WHY}",
            },
        ),
        "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "whsec_" + base64.b64encode(b"signing secret of the tests").decode(),
        "whsec_" + base64.b64encode(b"another secret, somebody's").decode(),
        _resend,
    ),
    "sendgrid": Sample(
        lambda to, id: [
            {
                "event": "delivered",
                "email": to,
                "timestamp": 1461095250,
                "anymail_id": id,
                "sg_event_id": "nOSv8m0eTQ-vxvwNwt3fZQ",
                "response": "250 2.0.0 OK",
            }
        ],
        lambda to, id: [
            {
                "event": "bounce",
                "email": to,
                "timestamp": 1461095250,
                "anymail_id": id,
                "sg_event_id": "lC0Rc-FuQmKbnxCWxX1jRQ",
                "reason": WHY,
                "type": "bounce",
            }
        ],
        "4ab185c2-0171-492f-9ce0-27de258efc99",
        public(EC_KEY),
        "another",
        _sendgrid,
    ),
    "sparkpost": Sample(
        lambda to, id: _sparkpost_data("delivery", to, id),
        lambda to, id: _sparkpost_data("bounce", to, id, bounce_class="10", raw_reason=WHY),
        "84345317650824116",
    ),
    "unisender_go": Sample(
        lambda to, id: _unisender_data("delivered", to, id),
        lambda to, id: _unisender_data(
            "hard_bounced",
            to,
            id,
            delivery_info={
                "delivery_status": "err_user_unknown",
                "destination_response": WHY,
            },
        ),
        "1sn15Z-0007Le-GtVN",
        "project-api-key",
        "another-key",
        _unisender_go,
    ),
}


def _unisender_data(status: str, to: str, message_id: str, **values: Any) -> dict[str, Any]:
    told = {"job_id": message_id, "email": to, "status": status, "metadata": {}} | values
    told["event_time"] = "2024-09-07 19:27:17"
    event = {"event_name": "transactional_email_status", "event_data": told}
    return {"events_by_user": [{"user_id": 123456, "events": [event]}]}
