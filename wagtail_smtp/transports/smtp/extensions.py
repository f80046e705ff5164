"""The SMTP service extensions that a server offers (RFC 5321 2.2)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions that the server offers, from the EHLO after TLS.

    ``size`` is in bytes; 0: no limit is announced.
    """

    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    sizes: bool = False
    size: int = 0

    @classmethod
    def offered(cls, features: Mapping[str, str], ignored: Collection[str] = ()) -> "Extensions":
        """From smtplib's ``esmtp_features``: parameters by lower-case keyword.

        Args:
            ignored: EHLO keywords not to use even if the server offers them; see
                :data:`wagtail_smtp.config.values.EXTENSIONS`.
        """
        without = {keyword.lower() for keyword in ignored}
        features = {name: value for name, value in features.items() if name not in without}
        size = features.get("size", "").strip()
        return cls(
            pipelining="pipelining" in features,
            chunking="chunking" in features,
            eight_bit="8bitmime" in features,
            sizes="size" in features,
            size=int(size) if size.isascii() and size.isdigit() else 0,
        )
