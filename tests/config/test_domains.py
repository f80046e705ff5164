"""International domains: the one that is meant, everywhere, or a ValueError."""

import random

import idna
import pytest
from django.core import mail
from django.core.mail import EmailMessage, send_mail

from wagtail_smtp.config.validation import (
    ascii_address,
    ascii_host,
    is_email_address,
    is_host,
    unicode_host,
    with_current_domains,
)
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.delivery.outgoing import build_outgoing, prepare
from wagtail_smtp.delivery.redirect import apply
from wagtail_smtp.delivery.routing import Redirect
from wagtail_smtp.transports import mime
from wagtail_smtp.transports.smtp.transport import SMTPTransport

#: What IDNA 2003, Django's and Python's own, leads to another domain.
DEVIATING = {
    "faß.de": "xn--fa-hia.de",
    "βόλος.gr": "xn--nxasmm1c.gr",
    "FAẞ.de": "xn--fa-hia.de",
    "نامه\u200cای.com": "xn--mgba3gch31f060k.com",
}
UNCHANGED = {
    "müller.de": "xn--mller-kva.de",
    "例え.jp": "xn--r8jz45g.jp",
    "example.com": "example.com",
}
IMPOSSIBLE = [
    "müller..de",
    "exa\u202emple.example",
    "\ud800.de",
    "☃.net",
    "ä" * 70 + ".de",
    "-ü.de",
]


@pytest.mark.parametrize(("domain", "wanted"), (DEVIATING | UNCHANGED).items())
def test_a_domain_is_the_one_that_is_meant(domain, wanted):
    assert ascii_address(f"ada@{domain}") == f"ada@{wanted}"
    assert mime.bare_address(f"Ada <ada@{domain}>", EmailMessage()) == f"ada@{wanted}"
    assert is_host(domain)
    assert is_email_address(f"ada@{domain}")
    assert ascii_host(unicode_host(wanted)) == wanted


@pytest.mark.parametrize("domain", IMPOSSIBLE)
def test_a_domain_that_cant_be_written_is_a_value_error(domain):
    with pytest.raises(ValueError):
        ascii_host(domain)
    with pytest.raises(ValueError):
        mime.bare_address(f"ada@{domain}", EmailMessage())
    assert not is_email_address(f"ada@{domain}")
    assert not is_host(domain)


@pytest.mark.parametrize(("domain", "wanted"), DEVIATING.items())
def test_headers_name_the_same_domain(domain, wanted):
    message = EmailMessage(
        "Hi",
        "Body",
        f"Shop <shop@{domain}>",
        [f"Grüße <ada@{domain}>"],
        cc=[f"bob@{domain}", "eve@müller.de"],
        reply_to=[f"reply@{domain}"],
        headers={"Sender": f"s@{domain}"},
    )
    item = SettingsSetConfig(key="k", name="n")
    outgoing = build_outgoing(prepare(message), item, SMTPTransport, None, username="")
    envelope = outgoing.envelope
    assert envelope.sender == f"shop@{wanted}"
    assert envelope.recipients == (
        f"ada@{wanted}",
        f"bob@{wanted}",
        "eve@xn--mller-kva.de",
    )
    head = mime.to_bytes(outgoing.message).partition(b"\r\n\r\n")[0].decode("ascii")
    for local in ("shop", "ada", "bob", "reply", "s"):
        assert f"{local}@{wanted}" in head
    # The caller's message stays as it was.
    assert message.to == [f"Grüße <ada@{domain}>"]


@pytest.mark.parametrize(("domain", "wanted"), DEVIATING.items())
def test_standard_delivery(db, settings, domain, wanted):
    send_mail("Hi", "Body", f"shop@{domain}", [f"ada@{domain}"])
    [message] = mail.outbox
    assert (message.from_email, message.to) == (f"shop@{wanted}", [f"ada@{wanted}"])


@pytest.mark.parametrize("domain", DEVIATING)
def test_a_report_address(make_set, reload, smtp_server, domain):
    make_set(smtp_server, redirect=True, reports=[f"report@{domain}"])
    reload()
    assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1
    [received] = smtp_server.received
    assert received.recipients == [f"report@{DEVIATING[domain]}"]


def test_a_redirect_to_such_an_address_can_be_written():
    message = prepare(EmailMessage("Hi", "Body", "a@example.com", ["real@example.org"]))
    apply(message, Redirect(("report@faß.de",), "Set"), is_black_box=False)
    assert b"To: report@xn--fa-hia.de" in mime.to_bytes(message)


_ALPHABET = (
    "abc-._·ʼäöüßςσéñ中文字🎉☃\u200d\u200cąłẞİıאبアー９Ａ。．｡\u202e\ud800\x00 \u00ad\u0301@"
)


def _random_domains(count):
    chance = random.Random(2008)
    for _ in range(count):
        name = "".join(chance.choice(_ALPHABET) for _ in range(chance.randrange(1, 12)))
        yield name + chance.choice([".de", ".com", ".中国", "", ".."])


def test_thousands_of_domains_as_django_anymail_encodes_them():
    encode = pytest.importorskip("anymail._idna").idna2008

    def tried(function, domain):
        try:
            return function(domain)
        except ValueError:
            return ValueError

    for domain in _random_domains(4000):
        is_host(domain)
        is_email_address(f"ada@{domain}")
        unicode_host(domain)
        with_current_domains(f"Ada <ada@{domain}>")
        tried(lambda d: mime.bare_address(f"ada@{d}", EmailMessage()), domain)
        if not domain.isascii():
            assert tried(ascii_host, domain) == tried(encode, domain)


def test_where_both_standards_agree_nothing_changes():
    count = 0
    for domain in _random_domains(4000):
        try:
            new, old = idna.encode(domain, uts46=True), domain.encode("idna")
        except ValueError:
            continue
        if new == old:
            count += 1
            assert with_current_domains(f"Ada <ada@{domain}>") == f"Ada <ada@{domain}>"
    assert count > 50
