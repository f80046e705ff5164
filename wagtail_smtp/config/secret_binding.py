"""What a secret is bound to: where it may go, in a form that equal destinations share."""

from collections.abc import Mapping


def destination_binding(
    host: str, port: int, encryption: str, ca_certificates: str, username: str
) -> dict[str, str]:
    """The destination a password is bound to, in a form that equal destinations share."""
    return {
        "transport": "smtp",
        "host": host.strip().rstrip(".").lower(),
        "port": str(port),
        "encryption": encryption,
        "ca": _lines(ca_certificates),
        "username": username,
    }


#: Options of providers that change neither where a key goes nor whose it is.
_UNBOUND = frozenset(
    {"configuration_set_name", "message_stream", "sender_domain", "sandbox_id", "subaccount"}
)


def provider_binding(
    transport: str, options: Mapping[str, str], ca_certificates: str
) -> dict[str, str]:
    """What a provider's keys are bound to: whose they are, and where they go."""
    bound = {name: str(value) for name, value in options.items() if value and name not in _UNBOUND}
    return {**bound, "transport": transport, "ca": _lines(ca_certificates)}


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())
