"""The snippet pages: form, listing, order, copy, delete."""

import re

import pytest
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.conftest import form_data
from wagtail_smtp import live
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.exceptions import ReloadRefused
from wagtail_smtp.models import Secret, SettingsSet

ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
LIST = "wagtailsnippets_wagtail_smtp_settingsset:list"
COPY = "wagtailsnippets_wagtail_smtp_settingsset:copy"
DELETE = "wagtailsnippets_wagtail_smtp_settingsset:delete"
REORDER = "wagtailsnippets_wagtail_smtp_settingsset:reorder"


def errors(response):
    form = response.context["form"]
    return form.errors.get_json_data()


def test_adding_a_set_stores_it_with_its_password_and_says_it_is_not_in_use(admin_client):
    response = admin_client.post(reverse(ADD), form_data(), follow=True)

    item = SettingsSet.objects.get()
    assert item.secret.reveal(item.frozen(()).binding()) == "canary-5f1e"
    page = response.content.decode()
    assert "It is not live yet" in page
    assert "Review and reload" in page
    assert "Not live yet" in page
    assert item.changed_by == admin_client.user


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "0"),
        ("port", "70000"),
        ("host", "smtp example.com"),
        ("host", "smtp.example.com\r\nRCPT"),
        ("host", ""),
        ("sender_address", "nobody"),
        ("bounce_address", "a@b@c"),
        ("username", ""),
        ("password", ""),
        ("redirect", "on"),
        ("ca_certificates", "no certificate"),
        ("ca_certificates", "-----BEGIN CERTIFICATE-----\nü\n-----END CERTIFICATE-----"),
        ("ehlo_name", "a b"),
        ("ehlo_name", "[x"),
        ("name", "Office\nBcc: leak@example.org"),
        ("name", "Office\u2028two"),
        ("name", "Office\x07"),
        ("always_use_sender", "on"),
    ],
)
def test_bad_input_is_an_error_at_that_field(admin_client, field, value):
    values = {field: value}
    at = field
    if field == "always_use_sender":
        values["username"] = "not-an-address"
        at = "sender_address"
    response = admin_client.post(reverse(ADD), form_data(**values))

    assert list(errors(response)) == [at]
    assert not SettingsSet.objects.exists()
    assert not Secret.objects.exists()


def test_a_duplicate_name_is_an_error_whatever_its_case(admin_client, make_set):
    make_set(name="office")
    response = admin_client.post(reverse(ADD), form_data())
    assert list(errors(response)) == ["name"]


def test_a_malformed_report_email_is_an_error(admin_client):
    response = admin_client.post(reverse(ADD), form_data(reports=["qa@", ""], redirect="on"))
    form = response.context["form"]
    assert "address" in form.formsets["report_emails"].forms[0].errors
    assert not SettingsSet.objects.exists()


def test_report_emails_are_saved_in_order(admin_client):
    reports = ["b@example.com", "a@example.com"]
    admin_client.post(reverse(ADD), form_data(reports=reports, redirect="on"))
    [item] = live.draft_configuration().sets
    assert item.report_addresses == tuple(reports)


def test_there_may_be_many_report_emails(admin_client):
    reports = [f"qa{number}@example.com" for number in range(60)]
    admin_client.post(reverse(ADD), form_data(reports=reports, redirect="on"))
    [item] = live.draft_configuration().sets
    assert item.report_addresses == tuple(reports)
    page = admin_client.get(reverse(EDIT, args=[SettingsSet.objects.get().pk])).content.decode()
    limit = re.search(r'name="report_emails-MAX_NUM_FORMS" value="(\d+)"', page)
    assert int(limit.group(1)) >= 1000


@pytest.mark.parametrize("field", ["name", "host", "username"])
def test_what_is_required_is_marked(admin_client, field):
    page = admin_client.get(reverse(ADD)).content.decode()
    label = page.partition(f'id="id_{field}-label"')[2].partition("</label>")[0]
    assert "w-required-mark" in label


def test_an_empty_password_keeps_the_stored_one(admin_client, make_set):
    item = make_set(name="Office", host="smtp.example.com", ca_certificates="")
    data = form_data(password="", loaded_revision="0", sender_name="New")
    admin_client.post(reverse(EDIT, args=[item.pk]), data)
    item.refresh_from_db()
    assert item.sender_name == "New"
    assert item.secret.reveal(item.frozen(()).binding()) == "secret of the tests"


@pytest.mark.threat(9)
@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example.com"},
        {"port": "465"},
        {"encryption": "ssl"},
        {"username": "other@example.com"},
    ],
)
def test_another_destination_asks_for_the_password_again(admin_client, make_set, change):
    item = make_set(name="Office", host="smtp.example.com", ca_certificates="")
    data = form_data(password="", loaded_revision="0", **change)
    response = admin_client.post(reverse(EDIT, args=[item.pk]), data)
    assert list(errors(response)) == ["password"]


def test_a_stale_save_is_refused_with_who_changed_what(admin_client, make_set):
    item = make_set(name="Office", host="smtp.example.com", ca_certificates="")
    url = reverse(EDIT, args=[item.pk])
    first = form_data(password="", loaded_revision="0", sender_name="First")
    admin_client.post(url, first)
    response = admin_client.post(url, form_data(password="", loaded_revision="0", port="2525"))
    item.refresh_from_db()
    assert item.port == 587
    [error] = errors(response)["__all__"]
    assert "boss" in error["message"]
    assert "Sender name" in error["message"]
    assert 'value="2525"' in response.content.decode()


def test_removing_the_password_revokes_it(admin_client, make_set, reload):
    item = make_set(name="Office", host="smtp.example.com", ca_certificates="")
    data = form_data(password="", loaded_revision="0", remove_password="on")
    admin_client.post(reverse(EDIT, args=[item.pk]), data)
    item.refresh_from_db()
    assert item.secret is None
    assert Secret.objects.get().ciphertext == ""


def test_a_saved_password_may_be_left_empty(admin_client, make_set):
    edited = admin_client.get(reverse(EDIT, args=[make_set(name="Office").pk]))
    added = admin_client.get(reverse(ADD))
    helps = [page.context["form"]["password"].help_text for page in (edited, added)]
    assert ["keep the saved password" in text for text in helps] == [True, False]


def test_a_copy_asks_for_the_password_and_is_off(admin_client, make_set):
    item = make_set(name="Office", reports=["qa@example.com"])
    response = admin_client.get(reverse(COPY, args=[item.pk]))
    page = response.content.decode()
    assert "Office (2)" in page
    assert "qa@example.com" in page
    form = response.context["form"]
    assert form.instance.secret_id is None
    assert not form.instance.enabled


def test_moving_a_set_numbers_all_anew(admin_client, make_set):
    a, b, c = (make_set(name=name, sort_order=0) for name in "abc")
    admin_client.post(reverse(REORDER, args=[c.pk]) + "?position=0")
    assert [item.name for item in live.draft_configuration().sets] == ["c", "a", "b"]
    assert sorted(SettingsSet.objects.values_list("sort_order", flat=True)) == [0, 1, 2]
    assert ModelLogEntry.objects.filter(action="wagtail_smtp.reorder").exists()
    assert a.pk
    assert b.pk


def test_the_listing_says_what_is_in_use(admin_client, make_set, reload):
    make_set(name="Invoices", categories=["invoice"])
    make_set(name="Main")
    make_set(name="Third")
    make_set(name="Off one", enabled=False)
    reload()
    page = admin_client.get(reverse(LIST)).content.decode()
    for text in ("Only for Invoices", "First choice", "Not used", "Off"):
        assert text in page
    SettingsSet.objects.get(name="Main").delete()
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "Deleted, but live until you reload: Main." in page


def test_the_listing_knows_backups_and_standard_categories(admin_client, make_set, reload):
    security = make_set(name="Security", categories=["security"])
    main = make_set(name="Main", categories=["form", "security"])
    rest = make_set(name="Rest")
    spare = make_set(name="Spare", backup=True)
    lost = make_set(name="Lost", categories=["form"])
    reload()
    in_use = Overview.now().in_use
    parts = [in_use(item) for item in (security, main, rest, spare, lost)]
    assert parts == [
        "Not used",
        "Only for Form pages",
        "First choice for all other email",
        "Backup",
        "Not used",
    ]
    assert "Backup" in admin_client.get(reverse(LIST)).content.decode()


def test_a_set_before_all_others_is_the_first_choice_though_one_is_for_security(make_set, reload):
    make_set(categories=["security"])
    main = make_set()
    reload()
    assert Overview.now().in_use(main) == "First choice"


def test_foreign_text_has_a_direction_of_its_own(admin_client, make_set):
    make_set(name="Office", host="smtp.example.com", sender_address="shop@example.com")
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "<bdi>smtp.example.com:587</bdi>" in page
    assert "<bdi>shop@example.com</bdi>" in page


@pytest.mark.parametrize("field", ["categories", "backup", "redirect", "sender_address"])
def test_what_decides_where_email_goes_is_in_an_open_panel(admin_client, field):
    page = admin_client.get(reverse(ADD)).content.decode()

    def panel_of(name):
        before = page[: page.index(f'name="{name}"')]
        return before[before.rindex('<section class="w-panel') :].partition(">")[0]

    assert "collapsed" not in panel_of(field)
    assert "collapsed" in panel_of("ehlo_name")


def test_the_form_has_the_backup_switch(admin_client):
    form = admin_client.get(reverse(ADD)).content.decode()
    assert "id_backup" in form
    admin_client.post(reverse(ADD), form_data(backup="on"))
    assert SettingsSet.objects.get().backup is True


def test_an_empty_listing_says_where_email_leaves(admin_client):
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "Email is sent by standard delivery" in page
    assert re.search(rf'href="{reverse(ADD)}" data-way-on', page)


def test_deleting_asks_and_says_that_mail_still_leaves_through_it(admin_client, make_set, reload):
    item = make_set(name="Office")
    reload()
    url = reverse(DELETE, args=[item.pk])
    assert "until you reload" in admin_client.get(url).content.decode()
    admin_client.post(url)
    assert not SettingsSet.objects.exists()
    assert live.live_version().content["sets"]


def test_deleting_removes_the_password(admin_client, make_set, reload):
    item = make_set(name="Office")
    first = reload()
    url = reverse(DELETE, args=[item.pk])
    assert (
        "You can then no longer make earlier versions live"
        in admin_client.get(url).content.decode()
    )
    admin_client.post(url)
    assert Secret.objects.get().ciphertext != ""  # what is live works until the reload
    make_set(name="Other", authentication="none", username="")
    reload()
    assert not Secret.objects.exclude(ciphertext="").exists()
    with pytest.raises(ReloadRefused):
        live.make_live(first)


@pytest.mark.threat(7)
def test_the_password_is_on_no_page(admin_client, make_set):
    admin_client.post(reverse(ADD), form_data())
    item = SettingsSet.objects.get()
    pages = [
        admin_client.get(reverse(name, args=args))
        for name, args in [
            (LIST, []),
            (EDIT, [item.pk]),
            (COPY, [item.pk]),
            (DELETE, [item.pk]),
            ("wagtailsnippets_wagtail_smtp_settingsset:history", [item.pk]),
            ("wagtailsnippets_wagtail_smtp_settingsset:usage", [item.pk]),
            ("wagtail_smtp_reload:index", []),
            ("wagtail_smtp_delivery:index", []),
            ("wagtail_smtp_versions:index", []),
        ]
    ]
    pages.append(admin_client.post(reverse(ADD), form_data(name="x", port="0")))
    for page in pages:
        assert page.status_code == 200
        assert "canary-5f1e" not in page.content.decode()
    for entry in ModelLogEntry.objects.all():
        assert "canary-5f1e" not in str(entry.data)


SMTP = "django.core.mail.backends.smtp.EmailBackend"


@pytest.fixture
def standard_smtp(settings):
    options = {"host": "own.example.com", "port": 465, "username": "own", "password": "own-pw"}
    options |= {"use_ssl": True, "use_tls": False}
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {
        "STANDARD": {"BACKEND": SMTP, "OPTIONS": options}
    }


@pytest.mark.threat(21)
def test_default_credentials_keep_no_host_of_the_editors(admin_client, standard_smtp):
    data = form_data(authentication="default", host="evil.example.com", password="")
    admin_client.post(reverse(ADD), data)
    item = SettingsSet.objects.get()
    assert (item.host, item.secret) == ("", None)
    live.reload()
    current = live.current()
    transport = current.transport(current.configuration.sets[0])
    assert transport.config.host == "own.example.com"
    assert transport.config.password == "own-pw"
    assert "own-pw" not in repr(transport.config)


def test_locked_fields_need_not_be_posted(admin_client, standard_smtp):
    locked = dict.fromkeys(["host", "port", "encryption", "username", "password"])
    admin_client.post(reverse(ADD), form_data(authentication="default", **locked))
    assert SettingsSet.objects.get().authentication == "default"


def test_default_credentials_are_offered_only_where_there_are_some(admin_client):
    response = admin_client.post(reverse(ADD), form_data(authentication="default"))
    assert list(errors(response)) == ["authentication"]


@pytest.mark.parametrize("values", [{"port": ""}, {"port": "", "encryption": ""}])
def test_locked_fields_are_missing_where_nothing_is_offered(admin_client, values):
    data = form_data(authentication="default", **values)
    response = admin_client.post(reverse(ADD), data)
    assert set(errors(response)) == {"authentication", *values}


def test_posting_the_copied_form_saves_its_report_emails(admin_client, make_set):
    item = make_set(name="Office", reports=["qa@example.com", "two@example.com"], redirect=True)
    response = admin_client.get(reverse(COPY, args=[item.pk]))
    form = response.context["form"]
    data = {}
    for each in [form, form.formsets["report_emails"].management_form]:
        data |= {bound.html_name: bound.value() for bound in each}
    for child in form.formsets["report_emails"].forms:
        data |= {bound.html_name: bound.value() for bound in child}
    # As a browser does: nothing for an empty box, an empty text for what has no value.
    data = {
        key: "" if value is None else value for key, value in data.items() if value is not False
    }
    data["password"] = "again"
    response = admin_client.post(response.context["action_url"], data)

    assert response.status_code == 302, errors(response)
    copied = SettingsSet.objects.get(name="Office (2)")
    addresses = [report.address for report in copied.report_emails.all()]
    assert addresses == ["qa@example.com", "two@example.com"]
    assert item.report_emails.count() == 2
    assert copied.secret_id != item.secret_id
