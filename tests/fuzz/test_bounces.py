"""Bounces: anyone can send to a bounce address."""

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.cases import addresses, budget, each, several, texts
from wagtail_smtp.bounces import messages
from wagtail_smtp.models.choices import Reported

FIELDS = st.sampled_from(
    (
        *("Final-Recipient", "Original-Recipient", "Action", "Status", "Diagnostic-Code", "From"),
        *(
            "X-Failed-Recipients",
            "Content-Type",
            "To",
            "Feedback-Type",
            "Original-Rcpt-To",
            "Subject",
        ),
    )
)
VALUES = st.one_of(
    texts("rfc822; a@example.org", "failed", "5.1.1", "delayed", "4.0.0", "smtp; 550 No", "abuse"),
    addresses(),
    st.sampled_from(
        (
            "multipart/report; report-type=delivery-status; boundary=b",
            "message/delivery-status",
            "message/feedback-report",
            "MAILER-DAEMON@example.com",
        )
    ),
)
HEADERS = st.lists(st.builds("{}: {}".format, FIELDS, VALUES), max_size=6).map("\n".join)
PART = st.tuples(
    st.sampled_from(
        ("text/plain", "message/delivery-status", "message/rfc822", "message/feedback-report")
    ),
    HEADERS,
    HEADERS,
).map(lambda part: "--b\nContent-Type: {}\n\n{}\n\n{}\n".format(*part))
MESSAGES = st.one_of(
    st.builds("{}\n\n{}".format, HEADERS, HEADERS),
    st.builds(
        "From: MAILER-DAEMON@example.com\nContent-Type: multipart/report; "
        "report-type=delivery-status; boundary=b\n\n{}--b--\n".format,
        st.lists(PART, max_size=3).map("".join),
    ),
    texts(),
).map(lambda text: text.encode("utf-8", "surrogatepass"))


@budget(0.5)
@given(several(MESSAGES))
def test_bounces(cases):
    """What is read is bounded, and names addresses as the log has them."""
    for content in each("bounces", cases):
        try:
            message = messages.parse(content)
            list(messages.receivers(message))
            found = messages.reports(message)
        except Exception:
            continue  # libraries don't expect every input; such a message is unreadable
        assert len(found) < 1000
        for report in found:
            assert report.type in Reported
            assert len(report.reason) <= 1000
            assert all(messages.normalized(address) == address for address in report.addresses)
