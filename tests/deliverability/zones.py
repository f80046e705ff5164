"""The DNS of domains that are set up well."""

from tests.deliverability.keys import KEYS
from tests.support.servers.dns_server import txt

KEY = f"v=DKIM1; k=rsa; p={KEYS[2048]}"

#: What providers publish about themselves.
PROVIDERS = {
    "_spf.google.com": {"TXT": txt("v=spf1 include:_netblocks.google.com ~all")},
    "_netblocks.google.com": {"TXT": txt("v=spf1 ip4:35.190.247.0/24 ip4:64.233.160.0/19 ~all")},
    "spf.protection.outlook.com": {"TXT": txt("v=spf1 ip4:40.92.0.0/15 -all")},
}
#: A domain that sends through Google.
GOOD = {
    "example.com": {
        "TXT": txt("verification=1", "v=spf1 include:_spf.google.com ~all"),
        "MX": ["1 smtp.google.com."],
        "A": ["9.9.9.9"],
    },
    "google._domainkey.example.com": {"TXT": txt(KEY)},
    "_dmarc.example.com": {"TXT": txt("v=DMARC1; p=quarantine; rua=mailto:d@example.com")},
    "smtp.google.com": {"A": ["64.233.160.1"]},
}
#: A server of one's own.
SERVER = {
    "mail.example.com": {"A": ["8.8.4.4"]},
    "4.4.8.8.in-addr.arpa": {"PTR": ["mail.example.com."]},
}
ZONE = PROVIDERS | GOOD | SERVER


def zone_with(**records):
    """The zone with other TXT records at example.com: ``spf``, ``dmarc`` and ``dkim``."""
    names = {"spf": "example.com", "dmarc": "_dmarc.example.com"}
    names["dkim"] = "google._domainkey.example.com"
    changed = {name: dict(types) for name, types in ZONE.items()}
    for key, texts in records.items():
        changed.setdefault(names[key], {})["TXT"] = txt(*texts)
        if not texts:
            del changed[names[key]]["TXT"]
    return changed
