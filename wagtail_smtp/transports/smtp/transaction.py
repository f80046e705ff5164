"""Send one message over a session (MAIL, RCPT, DATA or BDAT) in as few round trips as is safe.

- *One write* (PIPELINING and CHUNKING): all commands and the message together, one round trip.
  The message is sent before the first reply is read, so if the connection breaks, the outcome is
  unknown. It is therefore only used on a session that was used a moment ago.
- *Grouped* (PIPELINING): the commands together, the message after their replies.
- *One by one* otherwise.

These prove that a message was not accepted: an incomplete write, MAIL refused, all recipients
refused, or a 421.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wagtail_smtp.config.values import Recipient
from wagtail_smtp.exceptions import (
    AttemptFailed,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
)
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.transports.smtp.stream import (
    IncompleteWrite,
    Reply,
    SMTPStream,
    UnreadableReply,
    classify_reply,
    connection_lost,
    is_negative,
    is_positive,
    response_text,
)

#: Seconds to wait for a reply after the server stopped reading.
_LAST_REPLY_WAIT = 1.0
#: Replies to BDAT that are about the command, not the message.
_NOT_CHUNKING = (500, 501, 502, 503, 504, 555)


#: Characters that would end an address or its command.
_NOT_IN_PATH = re.compile(r"[\x00-\x1f<>\x7f]")


class ChunkingRefused(MessageDeferred):
    """The server offers CHUNKING but refuses BDAT."""


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


class Transaction:
    """One transaction, for one message.

    Attributes:
        in_step: whether each command got its reply; if not, the session can't be used again.
        is_finished: whether the server accepts the next MAIL without a RSET.
        is_answered: whether the server replied at all.
    """

    def __init__(
        self, stream: SMTPStream, extensions: Extensions, name: str, reply_timeout: float
    ) -> None:
        self._stream = stream
        self._offers = extensions
        self._name = name
        self._reply_timeout = reply_timeout
        self._handed_over = False
        self._deadline = 0.0
        self.in_step = True
        self.is_finished = False
        self.is_answered = False

    def run(
        self, envelope: Envelope, content: bytes, *, one_write: bool, reset: bool
    ) -> tuple[tuple[Recipient, ...], str]:
        """Send ``content``; return each recipient's state and the server's response.

        Args:
            content: the message with CRLF line endings, not dot-stuffed.
            one_write: send everything in one write; needs working PIPELINING and CHUNKING.
            reset: start with RSET.

        Raises:
            MessageDeferred, MessageRefused, MessageTooLarge, MessageOutcomeUnknown: for all
                recipients.
        """
        if self._offers.size and len(content) > self._offers.size:
            self.is_finished = not reset
            raise MessageTooLarge(
                f"{self._name}: the message has {len(content)} bytes, but the server accepts at "
                f"most {self._offers.size}.",
                phase="size",
            )
        commands = [("reset", b"RSET\r\n")] if reset else []
        commands.append(("mail", self._mail(envelope.sender, content)))
        commands += [("rcpt", b"RCPT TO:<%b>\r\n" % _path(a)) for a in envelope.recipients]
        if one_write:
            return self._in_one_write(commands, envelope.recipients, content, reset)
        return self._in_steps(commands, envelope.recipients, content, reset)

    def _mail(self, sender: str, content: bytes) -> bytes:
        line = b"MAIL FROM:<%b>" % _path(sender)
        if self._offers.sizes:
            line += b" SIZE=%d" % len(content)
        if self._offers.eight_bit and not content.isascii():
            line += b" BODY=8BITMIME"
        return line + b"\r\n"

    def _in_one_write(
        self,
        commands: Sequence[tuple[str, bytes]],
        addresses: Sequence[str],
        content: bytes,
        reset: bool,
    ) -> tuple[tuple[Recipient, ...], str]:
        head = b"".join(line for _phase, line in commands)
        phases = [phase for phase, _line in commands]
        self._transmit(b"%bBDAT %d LAST\r\n" % (head, len(content)), content, phases=phases)
        replies: list[Reply] = []
        try:
            for phase in phases:
                replies.append(self._read(phase))
            final = self._read("reply")
        except MessageOutcomeUnknown:
            # Replies read before the connection broke may prove that nothing was accepted.
            self._classify_commands(replies, addresses, reset, whole=False)
            raise
        self.is_finished = True
        # A server that refuses BDAT may execute the message as commands, and reply to them.
        self.in_step = is_positive(final)
        recipients = self._classify_commands(replies, addresses, reset, final=final)
        return recipients, self._classify_final(final)

    def _in_steps(
        self,
        commands: list[tuple[str, bytes]],
        addresses: Sequence[str],
        content: bytes,
        reset: bool,
    ) -> tuple[tuple[Recipient, ...], str]:
        groups_data = self._offers.pipelining and not self._offers.chunking
        if groups_data:
            commands = [*commands, ("data", b"DATA\r\n")]
        replies: list[Reply] = []
        try:
            self._ask(commands, replies)
        except MessageDeferred:
            # Replies read before the connection broke say more than the broken connection.
            self._classify_commands(replies, addresses, reset, whole=False)
            raise
        # If all recipients were refused, the server still waits for the message.
        self.in_step = not (groups_data and replies[-1].code == 354)
        recipients = self._classify_commands(replies, addresses, reset)
        if self._offers.chunking:
            self._transmit(b"BDAT %d LAST\r\n" % len(content), content)
        else:
            if not groups_data:
                self._ask([("data", b"DATA\r\n")], replies)
            self._begin_data(replies[-1])
            self._transmit(*_dot_stuffed(content), b".\r\n")
        final = self._read("reply")
        self.is_finished = True
        return recipients, self._classify_final(final)

    def _begin_data(self, reply: Reply) -> None:
        self.in_step = is_negative(reply) or reply.code == 354
        if reply.code != 354:
            raise classify_reply(self._name, "data", reply)

    def _ask(self, commands: Sequence[tuple[str, bytes]], replies: list[Reply]) -> None:
        """Send commands, collect replies; without PIPELINING, stop after a refused RSET or MAIL."""
        together = self._offers.pipelining
        if together:
            self._write(b"".join(line for _phase, line in commands))
        for phase, line in commands:
            if not together:
                self._write(line)
            replies.append(self._read(phase))
            if not together and phase in ("reset", "mail") and not is_positive(replies[-1]):
                break

    def _classify_commands(
        self,
        replies: Sequence[Reply],
        addresses: Sequence[str],
        reset: bool,
        *,
        whole: bool = True,
        final: Reply | None = None,
    ) -> tuple[Recipient, ...]:
        """Return each recipient's state, or raise the error that the replies prove.

        Args:
            whole: these are all replies; otherwise the connection broke after them.
            final: the reply to the message, if it was sent with the commands.
        """
        is_reset = not reset or not replies or is_positive(replies[0])
        mail, answers = replies[reset : reset + 1], replies[reset + 1 :]
        is_mail = not mail or is_positive(mail[0])
        # A session that refuses either can't send another message.
        self.in_step = self.in_step and is_reset and is_mail
        recipients = tuple(map(self._recipient, addresses, answers))
        is_all = whole or len(recipients) == len(addresses)
        all_refused = is_all and all(item.state != "sent" for item in recipients)
        if final is not None and is_positive(final) and (not is_mail or all_refused):
            # Refusing the sender but accepting the message proves nothing.
            raise self._unknown("the server's replies contradict each other")
        if not is_reset and final is None:
            raise classify_reply(self._name, "reset", replies[0])
        if not is_mail:
            raise classify_reply(self._name, "mail", mail[0])
        if all_refused:
            raise self._no_recipient(recipients)
        return recipients

    def _recipient(self, address: str, reply: Reply) -> Recipient:
        if is_positive(reply):
            return Recipient(address)
        state: Literal["refused", "deferred"] = "refused" if reply.code >= 500 else "deferred"
        return Recipient(address, state, reply.code, response_text(reply), "rcpt")

    def _no_recipient(self, recipients: tuple[Recipient, ...]) -> AttemptFailed:
        for_good = all(item.state == "refused" for item in recipients)
        first = next((r for r in recipients if r.state == "deferred"), recipients[0])
        return (MessageRefused if for_good else MessageDeferred)(
            f"{self._name}: the server refused all recipients ({len(recipients)}): "
            f"{first.code} {first.reply}",
            phase="rcpt",
            code=first.code,
            reply=first.reply,
            recipients=recipients,
        )

    def _classify_final(self, reply: Reply) -> str:
        if is_positive(reply):
            return response_text(reply)
        self.in_step = self.in_step and not self._offers.chunking
        if self._offers.chunking and reply.code in _NOT_CHUNKING:
            raise ChunkingRefused(
                f"{self._name}: the server offers CHUNKING but refuses BDAT: "
                f"{reply.code} {response_text(reply)}",
                phase="data",
                code=reply.code,
                reply=response_text(reply),
            )
        raise classify_reply(self._name, "reply", reply)

    def _unknown(self, why: str) -> MessageOutcomeUnknown:
        self.in_step = False
        return MessageOutcomeUnknown(
            f"{self._name}: the message was sent, but the server didn't confirm it: {why}. It may "
            "have been delivered, so it will not be sent again automatically.",
            phase="reply",
        )

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            self.in_step = False
            raise connection_lost(self._name, "mail", error) from error

    def _transmit(self, *parts: bytes, phases: Sequence[str] = ()) -> None:
        """Write data that ends with the message's last byte.

        Args:
            phases: phases of the commands in the first part, whose replies come first.
        """
        try:
            self._stream.write(*parts)
        except IncompleteWrite as error:
            self.in_step = False
            raise self._last_reply([*phases, "body"]) or connection_lost(
                self._name, "body", error
            ) from error
        self._handed_over = True
        self._deadline = time.monotonic() + self._reply_timeout

    def _last_reply(self, phases: Sequence[str]) -> AttemptFailed | None:
        """Return the refusal that the server sent before it stopped reading."""
        deadline = time.monotonic() + _LAST_REPLY_WAIT
        try:
            for phase in phases:
                reply = self._stream.read_reply(max(deadline - time.monotonic(), 0.01))
                if reply.code == 421 or (is_negative(reply) and phase in ("mail", "body")):
                    return classify_reply(self._name, phase, reply)
        except OSError:
            pass  # no reply; the failed write is reported
        return None

    def _read(self, phase: str) -> Reply:
        wait = max(self._deadline - time.monotonic(), 0.01) if self._handed_over else None
        try:
            reply = self._stream.read_reply(wait)
            if not (
                is_positive(reply) or is_negative(reply) or (phase == "data" and reply.code == 354)
            ):
                raise UnreadableReply(f"unexpected reply: {reply.code} {response_text(reply)}")
        except OSError as error:
            self.in_step = False
            if self._handed_over:
                raise self._unknown(str(error)) from error
            raise connection_lost(self._name, phase, error) from error
        self.is_answered = True
        if reply.code == 421:
            # The server closes the connection, and accepts nothing that it hasn't confirmed.
            self.in_step = False
            raise classify_reply(self._name, phase, reply)
        return reply


def _path(address: str) -> bytes:
    """An address to put between angle brackets."""
    if _NOT_IN_PATH.search(address):
        raise ValueError(f"{address!r} can't be used in an SMTP command.")
    return address.encode("ascii")


def _dot_stuffed(content: bytes) -> tuple[bytes, bytes]:
    """Double the dot at the start of each line (RFC 5321 4.5.2); the result is in two parts."""
    # Without such a dot, replace() doesn't copy.
    return b"."[: content.startswith(b".")], content.replace(b"\n.", b"\n..")
