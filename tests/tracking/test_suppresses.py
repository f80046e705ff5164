"""Which reports of providers suppress an address."""

import pytest

from tests.support.payloads import SAMPLES, WHY
from wagtail_smtp import suppression
from wagtail_smtp.models import SuppressedAddress
from wagtail_smtp.transports.esp.bounces import suppresses

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:django-anymail has dropped official support"),
]
TO = "recipient@example.com"


def _bounce(reporter, slug="postmark", **values):
    it = reporter(slug)
    entry = it.sent(TO, **values)
    return it, it.sample.bounced(TO, it.sample.message_id), entry


@pytest.mark.parametrize("slug", SAMPLES)
def test_a_hard_bounce_suppresses_the_address(slug, reporter):
    it, data, entry = _bounce(reporter, slug)
    assert it.send(data).status_code == 200
    if slug == "postal":  # doesn't say what kind of bounce it is
        assert not suppression.is_suppressed(TO)
        return
    row = SuppressedAddress.objects.get()
    assert (row.address, row.reason, row.entry) == (TO, "bounced", entry)
    assert WHY in row.detail


@pytest.mark.parametrize(
    ("slug", "kind", "event"),
    [
        ("amazon_ses", "bounced", {"bounce": {"bounceType": "Transient"}}),
        ("brevo", "bounced", {"event": "soft_bounce"}),
        ("mailersend", "bounced", {"data": {"type": "soft_bounced"}}),
        ("mailgun", "bounced", {"event-data": {"severity": "permanent", "reason": "generic"}}),
        ("mailjet", "bounced", {"hard_bounce": False, "error": "user unknown"}),
        ("mailjet", "bounced", {"hard_bounce": True, "error": "quota exceeded"}),
        ("mandrill", "bounced", {"event": "soft_bounce"}),
        ("postmark", "bounced", {"Type": "SoftBounce"}),
        ("postmark", "complained", {"Type": "SpamNotification"}),
        ("amazon_ses", "complained", {"complaint": {"complaintFeedbackType": "not-spam"}}),
        ("resend", "bounced", {"data": {"bounce": {"type": "Transient"}}}),
        ("resend", "bounced", {"data": None}),
        ("sendgrid", "bounced", {"event": "bounce", "type": "blocked"}),
        ("sparkpost", "bounced", {"msys": {"message_event": {"bounce_class": "22"}}}),
        ("unisender_go", "bounced", {"delivery_info": {"delivery_status": "err_mailbox_full"}}),
        ("postmark", "rejected", {"Type": "HardBounce"}),
        ("unknown", "bounced", {"event": "hard_bounce"}),
        ("postmark", "bounced", []),
    ],
)
def test_reports_that_do_not(slug, kind, event):
    assert suppresses(slug, kind, event) == ""


def test_a_policy_is_not_a_missing_mailbox():
    assert suppresses("postmark", "bounced", {"Type": "HardBounce"}, "550 5.1.1 Unknown")
    assert not suppresses("postmark", "bounced", {"Type": "HardBounce"}, "smtp; 550 5.7.1 Spam")
    assert not suppresses("postmark", "bounced", {"Type": "HardBounce"}, "552 5.2.2 Full")


def _complaint(it):
    data = it.sample.bounced(TO, it.sample.message_id)
    return data | {"RecordType": "SpamComplaint", "Type": "SpamComplaint"}


def test_a_complaint_unless_the_project_says_otherwise(reporter, configure):
    it, _data, _entry = _bounce(reporter)
    configure(SUPPRESS_COMPLAINTS=False)
    it.send(_complaint(it))
    assert not suppression.is_suppressed(TO)
    configure(SUPPRESS_COMPLAINTS=True)
    it.send(_complaint(it) | {"ID": 2})
    assert SuppressedAddress.objects.get().reason == "complained"


def test_automatic_suppression_is_off(reporter, configure):
    configure(SUPPRESS_AFTER_BOUNCES=0)
    it, data, _entry = _bounce(reporter)
    it.send(data)
    assert not suppression.is_suppressed(TO)


def test_of_two_bounces(reporter, configure):
    configure(SUPPRESS_AFTER_BOUNCES=2)
    it, data, _entry = _bounce(reporter)
    it.send(data)
    it.send(data)
    assert not suppression.is_suppressed(TO)
    it.sent(TO, provider_id="another")
    it.send(data | {"MessageID": "another", "ID": 2})
    assert suppression.is_suppressed(TO)


def test_the_same_report_again_does_not_suppress_what_someone_allowed(reporter):
    it, data, _entry = _bounce(reporter)
    it.send(data)
    assert suppression.allow(TO)
    it.send(data)
    assert not suppression.is_suppressed(TO)


def test_a_report_that_comes_before_the_entry(reporter):
    it = reporter()
    data = it.sample.bounced(TO, it.sample.message_id)
    it.send(data)
    assert not suppression.is_suppressed(TO)
    entry = it.sent(TO)
    # The next report about the message finds it.
    it.send(it.sample.delivered(TO, it.sample.message_id))
    assert SuppressedAddress.objects.get().entry == entry


def test_messages_of_others_and_redirected_ones_do_not(reporter):
    it, data, _entry = _bounce(reporter, redirected_by="Office")
    it.send(data)
    it.send(data | {"MessageID": "somebody-elses", "ID": 2})
    it.send(it.sample.bounced("else@example.com", it.sample.message_id) | {"ID": 3})
    assert not SuppressedAddress.objects.exists()
