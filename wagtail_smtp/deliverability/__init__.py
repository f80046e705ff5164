"""Whether the DNS of the senders' domains lets email arrive: SPF, DKIM, DMARC, MX and PTR.

Nothing here is used while a message is sent.

checkdmarc is not used: it needs more than a dozen packages, among them HTTP clients; its time
limits are for each query and not for a page; it doesn't tell whether SPF allows an address; and its
texts can't be translated.
"""
