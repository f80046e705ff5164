"""Send an invoice with a small PDF."""

import secrets

from django.core.mail import EmailMessage

from wagtail_smtp import email_category


def send_invoice(name: str, address: str) -> str:
    """Send an invoice in the category ``invoice`` and return its number."""
    number = f"2026-{secrets.randbelow(10**6):06d}"
    message = EmailMessage(
        subject=f"Invoice {number}",
        body=f"Dear {name},\n\nyour invoice {number} over 42.00 EUR is attached.\n",
        to=[address],
    )
    message.attach(f"invoice-{number}.pdf", pdf(f"Invoice {number}"), "application/pdf")
    with email_category("invoice"):
        message.send()
    return number


def pdf(text: str) -> bytes:
    """Return an A4 page with one line of ASCII ``text``, without brackets or backslashes."""
    drawing = f"BT /F1 24 Tf 72 740 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    content, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    start = len(content)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    content += "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    content += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return content.encode("ascii")
