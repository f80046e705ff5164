"""What a secret is bound to: the destination that it may be sent to, in a normalised form."""

from collections.abc import Mapping


def destination_binding(
    host: str, port: int, encryption: str, ca_certificates: str, username: str
) -> dict[str, str]:
    """The destination that a password is bound to."""
    return {
        "transport": "smtp",
        "host": host.strip().rstrip(".").lower(),
        "port": str(port),
        "encryption": encryption,
        "ca": _lines(ca_certificates),
        "username": username,
    }


#: Options that change neither the destination of a key nor its account.
_UNBOUND = frozenset(
    {"configuration_set_name", "message_stream", "sender_domain", "sandbox_id", "subaccount"}
)


def provider_binding(
    transport: str, options: Mapping[str, str], ca_certificates: str
) -> dict[str, str]:
    """The account and destination that an email provider's keys are bound to."""
    bound = {name: str(value) for name, value in options.items() if value and name not in _UNBOUND}
    return {**bound, "transport": transport, "ca": _lines(ca_certificates)}


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())
