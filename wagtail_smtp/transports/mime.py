"""Serialise messages and addresses for sending.

All differences between Django versions in this are handled here: up to 5.2 Django uses Python's
legacy email API, from 6.0 the modern one with a policy.
"""

import base64
import binascii
import copy
import email.message
import email.policy
import functools
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from email.errors import HeaderParseError, MessageError
from email.generator import BytesGenerator
from email.headerregistry import Address
from email.message import Message
from email.utils import parseaddr
from io import BytesIO
from typing import Any, cast

import django
from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives

from wagtail_smtp.config.validation import ascii_host, with_current_domains

_MODERN = django.VERSION >= (6, 0)


def rendered(message: EmailMessage) -> Message:
    """The message as Django's SMTP backend would build it, but with IDNA 2008 domains."""
    if not all(str(address).isascii() for address in _addresses(message)):
        updated = copy.copy(message)
        update_domains(updated)
        if _addresses(updated) != _addresses(message):
            message = updated
    if _MODERN:
        return cast(Message, cast(Any, message).message(policy=email.policy.SMTP))
    return message.message()


#: Address headers that a message may set itself.
_ADDRESS_HEADERS = frozenset({"from", "sender", "to", "cc", "reply-to"})


def _addresses(message: EmailMessage) -> list[Any]:
    """The values of the address headers, as given."""
    own = [v for k, v in message.extra_headers.items() if k.lower() in _ADDRESS_HEADERS]
    lists = (message.to, message.cc, message.reply_to)
    return [message.from_email, *own, *(item for items in lists for item in items or ())]


def copied(message: EmailMessage) -> EmailMessage:
    """Return a copy with its own recipients, attachments and headers."""
    result = copy.copy(message)
    for name in ("to", "cc", "bcc", "reply_to"):
        setattr(result, name, list(getattr(message, name) or ()))
    for name in ("attachments", "alternatives"):
        if hasattr(message, name):
            setattr(result, name, list(getattr(message, name) or ()))
    result.extra_headers = dict(message.extra_headers)
    return result


def update_domains(message: EmailMessage) -> None:
    """Encode domains with IDNA 2008 where Django's IDNA 2003 would change them."""
    for name in ("to", "cc", "bcc", "reply_to"):
        setattr(message, name, [_updated(item) for item in getattr(message, name) or ()])
    message.from_email = _updated(message.from_email)
    message.extra_headers = {
        name: _updated(value) if name.lower() in _ADDRESS_HEADERS else value
        for name, value in message.extra_headers.items()
    }


def _updated(address: Any) -> Any:
    text = str(address)
    return address if text.isascii() else with_current_domains(text)


def to_bytes(message: EmailMessage) -> bytes:
    """The bytes that Django's SMTP backend would send, before dot-stuffing.

    Raises:
        ValueError: a header has a line break or can't be encoded.
    """
    as_frozen: Callable[[], bytes | None] | None = getattr(message, "as_frozen", None)
    if as_frozen is not None and (written := as_frozen()) is not None:
        return written
    try:
        if _is_written_by_django(cast(Any, type(message))) and not vars(message).keys() & _WRITERS:
            content = _with_placeholders(message)
            if content is not None:
                return content
        return _written(rendered(message))
    except MessageError as error:
        # Unlike Django's, Python's errors are not ValueErrors.
        raise ValueError(str(error)) from error


#: Attachments and texts of this size are written here: Django and Python's generator together need
#: six times the size of an attachment in memory, and several Python objects for each line.
_LARGE = 4096
#: Python's generator chooses boundaries that begin so, and that no part contains.
_BOUNDARY = b"--============"
#: Bytes of an encoded line, and of the lines that are encoded together.
_OF_LINE = 57
_BLOCK = 1024 * _OF_LINE
#: Methods that decide how a message is written.
_WRITERS = {
    name for name in dir(EmailMultiAlternatives) if callable(getattr(EmailMultiAlternatives, name))
} - {
    *("__init__", "attach", "attach_alternative", "attach_file"),
    *("get_connection", "recipients", "send"),
}


def _with_placeholders(message: EmailMessage) -> bytes | None:
    """Write a message with short random placeholders, and put large parts in place of them.

    Not for a message whose class has its own way to write it, since that may sign the content.

    Returns:
        None: there is no large part, or a placeholder isn't found.
    """
    large: dict[bytes, Iterable[bytes]] = {}
    attachments: list[Any] = []
    for item in message.attachments or ():
        if _is_large_file(item):
            placeholder = secrets.token_bytes(48)
            large[base64.b64encode(placeholder) + b"\r\n"] = _encoded(item[1])
            item = (item[0], placeholder, item[2])
        attachments.append(item)
    is_long = any(len(item) >= _LARGE for item in _texts(message))
    if not large and not is_long:
        return None
    message = copy.copy(message)
    message.attachments = attachments
    tree = rendered(message)
    if is_long:
        # The caller's own parts must not be changed.
        large |= _take_texts(tree, [item for item in attachments if isinstance(item, Message)])
    return _filled(_written(tree), large)


def _texts(message: EmailMessage) -> Iterator[str]:
    """The body, its alternatives and attached texts."""
    alternatives = [item[0] for item in getattr(message, "alternatives", None) or ()]
    attached = [item[1] for item in message.attachments or () if isinstance(item, tuple)]
    for text in (message.body, *alternatives, *attached):
        if isinstance(text, str):
            yield text


def _take_texts(part: Message, spared: Collection[Message]) -> dict[bytes, Iterable[bytes]]:
    """Replace long texts in a message by placeholders, and return them by placeholder."""
    if any(part is item for item in spared):
        return {}
    kind = part.get_content_maintype()
    if kind == "multipart" and part.is_multipart():
        found = [_take_texts(cast(Message, item), spared) for item in part.get_payload()]
        return {key: text for texts in found for key, text in texts.items()}
    if kind != "text" or part.is_multipart():
        return {}
    if part.get("Content-Transfer-Encoding") == "8bit":
        text = cast(bytes, part.get_payload(decode=True))
    else:
        # Encoded by Django, so it is ASCII.
        text = cast(str, part.get_payload()).encode("ascii", "surrogateescape")
    if len(text) < _LARGE or _BOUNDARY in text:
        return {}
    placeholder = secrets.token_hex(24)
    part.set_payload(placeholder)
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # as Python's generator does
    return {placeholder.encode(): (text.replace(b"\n", b"\r\n"),)}


def _is_large_file(item: Any) -> bool:
    """Whether Django encodes this attachment with base64, and that is worth sparing it."""
    return (
        isinstance(item, tuple)
        and len(item) == 3
        and type(item[1]) is bytes
        and len(item[1]) >= _LARGE
        and isinstance(item[2], str)
        and item[2].partition("/")[0].lower() not in ("text", "message", "multipart")
    )


@functools.lru_cache(maxsize=64)
def _is_written_by_django(kind: type[EmailMessage]) -> bool:
    own = [base for base in kind.__mro__ if not issubclass(EmailMultiAlternatives, base)]
    return not any(vars(base).keys() & {*_WRITERS, "attachments"} for base in own)


def _encoded(content: bytes) -> Iterator[bytes]:
    """The lines of base64."""
    for begin in range(0, len(content), _BLOCK):
        encoded = binascii.b2a_base64(memoryview(content)[begin : begin + _BLOCK], newline=False)
        lines = [encoded[at : at + 76] for at in range(0, len(encoded), 76)]
        yield b"\r\n".join([*lines, b""])


def _filled(written: bytes, large: Mapping[bytes, Iterable[bytes]]) -> bytes | None:
    """Put large parts into a message in place of their placeholders; None: one isn't there."""
    if any(written.count(placeholder) != 1 for placeholder in large):
        return None
    buffer = BytesIO()
    position = 0
    for start, placeholder in sorted((written.index(item), item) for item in large):
        buffer.write(written[position:start])
        buffer.writelines(large[placeholder])
        position = start + len(placeholder)
    buffer.write(written[position:])
    return buffer.getvalue()


def _written(content: Any) -> bytes:
    if type(content).as_bytes not in _USUAL:
        # A custom class serialises itself, perhaps with this platform's line endings.
        own = cast(bytes, content.as_bytes() if _MODERN else content.as_bytes(linesep="\r\n"))
        return _LINE_END.sub(b"\r\n", own)
    buffer = BytesIO()
    policy = _checked(content.policy)
    BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(content)
    return buffer.getvalue()


def _usual_writers() -> set[Any]:
    """The methods that serialise a message with Python's own generator."""
    own = {email.message.Message.as_bytes, email.message.EmailMessage.as_bytes}
    if _MODERN:
        return own
    from django.core.mail.message import MIMEMixin  # gone in 7.0

    return own | {MIMEMixin.as_bytes}


_USUAL = _usual_writers()
_LINE_END = re.compile(rb"\r?\n")
#: A line break that ends a header, because no white space follows.
_END_OF_HEADER = re.compile(rb"\r\n[^ \t]|\r[^ \n\t]|\n[^ \t]")


#: Characters of a line (RFC 5322 2.1.1), with some to spare.
_LONGEST_LINE = 990
#: Visible ASCII words separated by single spaces.
_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*\Z")


def _fits(name: str, value: Any) -> bool:
    """Whether a header needs no encoding and no folding."""
    is_short = isinstance(value, str) and name.isascii() and len(name) + len(value) <= 70
    return is_short and _WORDS.match(value) is not None


def _has_links(name: str, value: Any) -> bool:
    """Whether a header is one with links (RFC 2369), none of them too long for a line."""
    text = str(value)
    is_plain = name.lower().startswith("list-") and text.isascii() and text.isprintable()
    return is_plain and max(map(len, text.split(", "))) + len(name) < _LONGEST_LINE


class _Checks:
    """Refuses headers with line breaks in them, as Python does since gh-144125.

    Django doesn't check the headers of MIME parts that the project builds itself.
    """

    linesep: str

    def fold_binary(self, name: str, value: Any) -> bytes:
        folded: bytes
        if isinstance(self, email.policy.Compat32) and _fits(name, value):
            # The same result in a tenth of the time.
            folded = f"{name}: {value}{self.linesep}".encode("ascii")
        elif not isinstance(self, email.policy.Compat32) and _has_links(name, value):
            # Python's newer policy would encode a long link, which mail programs don't decode.
            links = f",{self.linesep} ".join(str(value).split(", "))
            folded = f"{name}: {links}{self.linesep}".encode("ascii")
        else:
            folded = super().fold_binary(name, value)  # type: ignore[misc]
        end = self.linesep.encode()
        if not folded.endswith(end) or _END_OF_HEADER.search(folded.removesuffix(end)):
            raise HeaderParseError(f"the header {name!r} has a line break: {folded!r}")
        return folded


@functools.lru_cache(maxsize=64)
def _checked(policy: email.policy.Policy) -> Any:
    """The policy with these checks and CRLF line endings."""
    return _checking(type(policy))(**vars(policy) | {"linesep": "\r\n"})


@functools.lru_cache(maxsize=64)
def _checking(kind: type[email.policy.Policy]) -> Any:
    return type(f"Checked{kind.__name__}", (_Checks, kind), {})


def leaves(message: Message) -> Iterator[Message]:
    """Yield the parts of a message that have no parts themselves."""
    # A multipart without parts counts as one part, and so does an attached message.
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    for part in message.get_payload():
        yield from leaves(cast(Message, part))


#: Text without any header or boundary, after an empty line: an encoded attachment.
_RUN = re.compile(rb"(?<=\r\n\r\n)[A-Za-z0-9+/\r\n]{8192,}")


class Structure:
    """A serialised message without its encoded attachments, because parsers copy them many times.

    Attributes:
        parsed: the message, with a short placeholder in place of each attachment.
    """

    def __init__(self, content: bytes, policy: email.policy.Policy = email.policy.compat32) -> None:
        mark = secrets.token_hex(16)
        self._placeholder = re.compile(rf"{mark}\d{{12}}")
        self._runs: dict[str, memoryview] = {}
        kept: list[bytes | memoryview] = []
        view, position = memoryview(content), 0
        for found in _RUN.finditer(content):
            start, end = found.span()
            while content[end - 1 : end] in (b"\r", b"\n"):
                end -= 1  # the parser drops the line break before a boundary
            placeholder = f"{mark}{len(self._runs):012}"
            self._runs[placeholder] = view[start:end]
            kept += [view[position:start], placeholder.encode()]
            position = end
        self.parsed: Any = email.message_from_bytes(
            b"".join([*kept, view[position:]]), policy=policy
        )

    def size(self, text: str) -> int:
        """The length of a part's text with its attachments."""
        found = self._placeholder.findall(text)
        return len(text) + sum(len(self._runs[item]) - len(item) for item in found)

    def restore(self) -> None:
        """Put the attachments back into the parsed message."""
        for part in self.parsed.walk():
            text = part.get_payload()
            if isinstance(text, str) and self._placeholder.search(text):
                part.set_payload(
                    self._placeholder.sub(lambda found: str(self._runs[found[0]], "ascii"), text)
                )


def bare_address(address: str, message: EmailMessage | None = None) -> str:
    """Return the bare address in ASCII, for an SMTP command.

    Args:
        message: its encoding may be needed for the name beside the address.

    Raises:
        ValueError: not exactly one valid address, or its local part is not ASCII.
    """
    text = str(address)
    if _PLAIN_ADDRESS.match(text):
        return text
    encoding = message.encoding if message is not None else None
    return _bare_address(text, encoding or settings.DEFAULT_CHARSET)


#: An address that needs no parsing: ASCII, without name, quotes or comments.
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_ADDRESS = re.compile(
    rf"{_ATOM}(?:\.{_ATOM})*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\Z", re.IGNORECASE | re.ASCII
)

#: What Python's parser raises for some malformed addresses, such as ``"`` or ``<>``.
_OF_PARSER = (MessageError, LookupError, AttributeError, TypeError, NameError)


@functools.lru_cache(maxsize=4096)  # parsing takes up to a tenth of the sending time
def _bare_address(address: str, encoding: Any) -> str:
    if _MODERN:
        return _modern_bare_address(address)
    from django.core.mail.message import sanitize_address  # deprecated from 6.0 on

    try:
        bare = parseaddr(sanitize_address(with_current_domains(address), encoding))[1]
    except _OF_PARSER as error:
        raise ValueError(f"Invalid address {address!r}") from error
    if not bare:
        raise ValueError(f"Invalid address {address!r}")
    if not parseaddr(address)[1].rpartition("@")[0].isascii():
        raise ValueError(f"Invalid address {address!r}: local-part contains non-ASCII characters")
    ascii_host(parseaddr(address)[1].rpartition("@")[2])
    return bare


def _modern_bare_address(address: str) -> str:
    """Do the same as ``prep_address()`` of Django's SMTP backend, without a backend."""
    try:
        header: Any = email.policy.default.header_factory("To", address)
    except _OF_PARSER as error:
        raise ValueError(f"Invalid address {address!r}: {error}") from error
    # Django allows local mailboxes like "From: webmaster" (#15042).
    defects = {str(defect) for defect in header.defects} - {"addr-spec local part with no domain"}
    if defects or len(header.addresses) != 1:
        why = "; ".join(sorted(defects)) or "must be a single address"
        raise ValueError(f"Invalid address {address!r}: {why}")
    [found] = header.addresses
    return str(Address(username=found.username, domain=ascii_host(found.domain)))
