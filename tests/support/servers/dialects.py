"""How servers put the same replies: what all of them say has to be understood alike."""

import re
from collections.abc import Callable

#: Makes the lines of a reply, as a server of the tests gives it, into the bytes that it sends.
Dialect = Callable[[str], bytes]


def usual(text: str) -> bytes:
    """As the tests write it."""
    return text.encode() + b"\r\n"


def terse(text: str) -> bytes:
    """Codes alone (RFC 5321 4.2), but for EHLO's keywords and the challenges that need them."""
    lines = text.split("\r\n")
    if len(lines) > 1:
        keywords = [f"{line[:3]}-{line[4:]}" for line in lines[1:]]
        return b"".join(usual(line) for line in (lines[0][:4], *keywords, lines[0][:3]))
    code, _, words = text.partition(" ")
    return usual(text if code == "334" and words not in _PROMPTS else code)


def chatty(text: str) -> bytes:
    """Several lines of everything."""
    lines = text.split("\r\n")
    code, words = lines[0][:3], lines[0][4:]
    if code == "334":
        return usual(f"334-\r\n334 {words}")
    before = f"{code}-{words}\r\n{code}-\r\n{code}-{'and so on ' * 60}"
    if len(lines) > 1:  # EHLO's first line is no keyword, and each other line may be one
        return usual(f"{code}-{words}\r\n" + "\r\n".join(lines[1:]))
    return usual(f"{before}\r\n{text}")


def odd(text: str) -> bytes:
    """Tabs and blanks, lower case, lines ended by LF, codes that are seldom seen."""
    lines = text.split("\r\n")
    if len(lines) > 1:
        lines = [lines[0], *map(_odd_keyword, lines[1:])]
        return "".join(f"{line}  \n" for line in lines).encode()
    code, _, words = text.partition(" ")
    if code == "334":
        return f"334 {_PROMPTS.get(words, words)} \n".encode()
    if words.startswith("2.1.5"):
        code = "251"  # of a recipient: will forward
    return f"{code}\t {words} \t\r\n".encode()


def _odd_keyword(line: str) -> str:
    # As servers announced AUTH before there was a standard.
    line = re.sub(r"AUTH ", "AUTH=", line)
    return re.sub(r"^(250.)([A-Z0-9]+)(.*)", lambda m: f"{m[1]}{m[2].lower()}{m[3]}", line)


#: What servers ask for in words; some don't encode them.
_PROMPTS = {"VXNlcm5hbWU6": "Username:", "UGFzc3dvcmQ6": "Password:", "": ""}


def exim(text: str) -> bytes:
    """As Exim puts it."""
    return usual(_EXIM.get(text, text))


def exchange(text: str) -> bytes:
    """As Exchange and Microsoft 365 put it."""
    return usual(_EXCHANGE.get(text, text))


_EXIM = {
    "220 hostile.example ESMTP": "220 hostile.example ESMTP Exim 4.97 Sat, 28 Nov 2026 09:00:00",
    "250 2.0.0 OK": "250 Reset OK",
    "250 2.1.0 OK": "250 OK",
    "250 2.1.5 OK": "250 Accepted",
    "354 Go ahead": '354 Enter message, ending with "." on a line by itself',
    "503 5.5.1 RCPT first": "503 valid RCPT command must precede BDAT",
    "250 2.0.0 Taken": "250 OK id=1tGxyz-00000000abc-1AbC",
    "235 2.7.0 Welcome": "235 Authentication succeeded",
    "535 5.7.8 No": "535 Incorrect authentication data",
}
_EXCHANGE = {
    "220 hostile.example ESMTP": "220 HOSTILE.example Microsoft ESMTP MAIL Service ready at Sat, "
    "28 Nov 2026 09:00:00 +0000",
    "250 2.0.0 OK": "250 2.0.0 Resetting",
    "250 2.1.0 OK": "250 2.1.0 Sender OK",
    "250 2.1.5 OK": "250 2.1.5 Recipient OK",
    "354 Go ahead": "354 Start mail input; end with <CRLF>.<CRLF>",
    "503 5.5.1 RCPT first": "503 5.5.2 Need rcpt command",
    "250 2.0.0 Taken": "250 2.6.0 <1@example.com> [InternalId=1, Hostname=HOSTILE.example] 1 bytes "
    "in 0.1, 10 KB/sec Queued mail for delivery",
    "235 2.7.0 Welcome": "235 2.7.0 Authentication successful",
    "535 5.7.8 No": "535 5.7.3 Authentication unsuccessful",
}

#: Dialects that nothing depends on.
DIALECTS: dict[str, Dialect] = {
    "usual": usual,
    "terse": terse,
    "chatty": chatty,
    "odd": odd,
}
#: Real servers' words.
PRODUCTS: dict[str, Dialect] = {"exim": exim, "exchange": exchange}
