"""Requests: webhooks and forms take anything, and keep only what is right."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.conftest import form_data
from tests.fuzz.cases import addresses, budget, each, junk, mutated, several, texts
from tests.support.payloads import SAMPLES, Post
from tests.tracking.conftest import reporter as reporter
from wagtail_smtp.admin.connection_check.views import AddressForm
from wagtail_smtp.admin.log.filters import LogFilterSet
from wagtail_smtp.admin.sets.form import SettingsSetForm
from wagtail_smtp.admin.sets.viewset import SettingsSetViewSet
from wagtail_smtp.config import validation
from wagtail_smtp.models import DeliveryEvent, SettingsSet

SLUGS = ("postmark", "mailgun", "sendgrid", "brevo", "mandrill", "mailjet", "resend", "sparkpost")


def _posts(slug: str) -> st.SearchStrategy[tuple[str, Any, str, str]]:
    sample = SAMPLES[slug]
    data = sample.bounced("recipient@example.com", sample.message_id)
    return st.tuples(
        st.just(slug),
        st.one_of(mutated(json.loads(json.dumps(data)), junk()), texts(), junk()),
        st.sampled_from(("signed", "signed", "other key", "raw")),
        st.sampled_from(("right", "right", "wrong", "")),
    )


@budget(0.02)
@given(cases=several(st.sampled_from(SLUGS).flatmap(_posts)))
def test_webhooks(reporter, configure, cases):
    """Anything is answered; only what is signed and knows the password is kept."""
    configure(WEBHOOK_REQUESTS_PER_MINUTE=10**9)
    known: dict[str, Any] = {}
    for slug, data, signature, password in each("webhooks", cases):
        it = known.setdefault(slug, None) or known.setdefault(slug + "!", reporter(slug))
        known[slug] = it
        before = DeliveryEvent.objects.count()
        given_password = {"right": None, "wrong": "x", "": ""}[password]
        if signature == "raw":
            body = json.dumps(data).encode()
            response = it.post(Post(body, {}), given_password)
        else:
            key = it.sample.other_key if signature == "other key" else ""
            response = it.send(data, key=key, password=given_password)
        assert response.status_code in (200, 400, 405, 413)
        is_forged = password != "right" or (signature == "other key" and it.sample.other_key)
        if is_forged:
            assert response.status_code == 400
        if response.status_code != 200:
            assert DeliveryEvent.objects.count() == before


FIELDS = (
    *("name", "enabled", "transport", "host", "port", "encryption", "timeout", "authentication"),
    *("username", "password", "password_source", "password_name", "sender_address", "sender_name"),
    *("bounce_address", "redirect", "categories", "max_size", "notify_user", "ehlo_name"),
    *("ca_certificates", "loaded_revision", "ignored_extensions", "report_emails-0-address"),
    *("report_emails-TOTAL_FORMS", "oauth_provider", "oauth_token_url", "oauth_flow"),
)
# Django decodes requests with replacement characters, so none contains half a surrogate pair.
VALUES = st.one_of(
    texts("oauth2", "postmark", "default", "env", "on", "999999999999", "security"), addresses()
).map(lambda text: text.encode(errors="replace").decode())


@budget(0.005)
@given(cases=several(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4)))
def test_forms(db, cases):
    """What a form accepts can be made live; everything else is an error at a field."""
    user = User(pk=1, is_superuser=True)
    form_class = SettingsSetViewSet().get_form_class()
    assert issubclass(form_class, SettingsSetForm)
    for changes in each("forms of a set", cases):
        data = form_data(["qa@example.com"]) | changes
        form = form_class(data, instance=SettingsSet(), for_user=user)
        if form.is_valid():
            item, _secret = form.typed()
            assert validation.problems(item) == []
        else:
            assert form.errors or any(
                any(each.errors) or each.non_form_errors() for each in form.formsets.values()
            )


QUERIES = st.dictionaries(
    st.sampled_from(
        ("q", "state", "category", "p", "created_at_from", "created_at_to", "ordering")
    ),
    texts("failed", "2026-01-01", "9999-99-99"),
    max_size=4,
)


@budget(0.01)
@given(cases=several(st.tuples(QUERIES, addresses())))
def test_queries(db, rf, cases):
    """The log can be filtered by anything, and a test email goes to addresses only."""
    for query, address in each("queries of the log", cases):
        posted = QueryDict(mutable=True)
        posted.update(query)
        found = LogFilterSet(posted, request=rf.get("/")).search(posted.get("q", ""), 10)
        assert found.numbers == []
        form = AddressForm({"test_address": address})
        if form.is_valid():
            assert validation.is_email_address(form.cleaned_data["test_address"])
