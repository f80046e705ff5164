"""Sites in the form of a set, in the listing, and on the pages about the configuration."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.conftest import form_data
from tests.support.log_entries import make_entry
from tests.support.sites import make_sites
from wagtail_smtp import live
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.models import LogEntry, SettingsSet, SiteSender

ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
COPY = "wagtailsnippets_wagtail_smtp_settingsset:copy"
LIST = "wagtailsnippets_wagtail_smtp_settingsset:list"
LOG = "wagtail_smtp_log:index"


@pytest.fixture
def two_sites(db):
    return make_sites()


def senders(*rows):
    data = {
        "site_senders-TOTAL_FORMS": str(len(rows)),
        "site_senders-INITIAL_FORMS": "0",
        "site_senders-MIN_NUM_FORMS": "0",
        "site_senders-MAX_NUM_FORMS": "1000",
    }
    for i, (site, name, address) in enumerate(rows):
        data |= {
            f"site_senders-{i}-site": str(site.pk),
            f"site_senders-{i}-sender_name": name,
            f"site_senders-{i}-sender_address": address,
            f"site_senders-{i}-id": "",
        }
    return data


def test_a_project_with_one_site_sees_nothing_of_sites(admin_client, make_set):
    page = admin_client.get(reverse(ADD)).content.decode()
    assert "site_senders" not in page
    assert 'name="sites"' not in page
    make_entry()
    page = admin_client.get(reverse(LOG)).content.decode()
    assert 'name="site"' not in page
    make_set()
    live.reload()
    assert (
        "data-sites"
        not in admin_client.get(reverse("wagtail_smtp_delivery:index")).content.decode()
    )


def test_sites_and_their_senders_are_saved_copied_and_in_the_audit_log(admin_client, two_sites):
    org, net = two_sites
    data = form_data(
        sites=[str(net.pk)], **senders((org, "", "shop@example.org"), (net, "Net", ""))
    )
    admin_client.post(reverse(ADD), data)
    item = SettingsSet.objects.get()
    assert item.sites == [net.pk]
    assert [*item.site_senders.values_list("site", "sender_name", "sender_address")] == [
        (org.pk, "", "shop@example.org"),
        (net.pk, "Net", ""),
    ]
    page = admin_client.get(reverse(COPY, args=[item.pk]))
    form = page.context["form"]
    assert form.initial["sites"] == [net.pk]
    assert len(form.formsets["site_senders"].forms) == 2
    row = {f"site_senders-0-{name}": value for name, value in senders_row(item, org)}
    data = form_data(
        loaded_revision=str(item.revision),
        password="",
        sites=[str(net.pk)],
        **senders((org, "Shop", "")) | {"site_senders-INITIAL_FORMS": "1"} | row,
    )
    admin_client.post(reverse(EDIT, args=[item.pk]), data)
    entry = ModelLogEntry.objects.filter(action="wagtail.edit").latest("pk")
    assert "Senders of sites" in entry.data["fields"]


def senders_row(item, site):
    row = item.site_senders.get(site=site)
    return [("id", str(row.pk)), ("sender_name", "Shop"), ("sender_address", row.sender_address)]


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        (lambda org, net: [(org, "", "")], "__all__"),
        (lambda org, net: [(org, "", "nobody")], "sender_address"),
        (lambda org, net: [(org, "A", ""), (org, "B", "")], "site"),
    ],
)
def test_a_sender_that_can_not_be_used(admin_client, two_sites, rows, field):
    response = admin_client.post(reverse(ADD), form_data(**senders(*rows(*two_sites))))
    assert not SettingsSet.objects.exists()
    forms = response.context["form"].formsets["site_senders"].forms
    assert field in forms[-1].errors


def test_the_test_of_a_set_takes_its_typed_senders(two_sites, make_set, admin_client):
    """What is typed has the same values as what is saved."""
    from wagtail_smtp.admin.sets.viewset import SettingsSetViewSet

    form_class = SettingsSetViewSet().get_form_class()
    data = form_data(**senders((two_sites[1], "Net", "")))
    form = form_class(data, instance=SettingsSet(), for_user=admin_client.user)
    assert form.is_valid()
    item, _secret = form.typed()
    assert [(each.site, each.name) for each in item.site_senders] == [(two_sites[1].pk, "Net")]


def test_a_deleted_site_stays_chosen_and_is_shown(admin_client, two_sites, make_set):
    item = make_set(name="Net", sites=[two_sites[1].pk])
    live.reload()
    two_sites[1].delete()
    page = admin_client.get(reverse(EDIT, args=[item.pk])).content.decode()
    assert "A deleted site" in page
    assert "limited were deleted" in page
    assert Overview.now().in_use(item) == "Only for a deleted site"


def test_the_listing_says_for_which_site(two_sites, make_set, admin_client):
    org, net = two_sites
    item = make_set(name="Net", sites=[net.pk])
    forms = make_set(name="Forms", sites=[net.pk], categories=["form"], sort_order=-1)
    both = make_set(sites=[org.pk, net.pk], categories=["alert", "invoice"], sort_order=-2)
    make_set(name="Rest")
    live.reload()
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "Only for example.net" in page
    assert Overview.now().in_use(forms) == "Only for Form pages (example.net)"
    assert Overview.now().in_use(item) == "Only for example.net"
    assert Overview.now().in_use(both) == "Only for Alerts, Invoices (example.org, example.net)"


def test_where_email_goes_is_shown_for_each_site_where_it_differs(
    admin_client, two_sites, make_set
):
    make_set(name="Net", sites=[two_sites[1].pk], categories=["form"])
    make_set(name="Rest")
    page = admin_client.get(reverse("wagtail_smtp_reload:index")).content.decode()
    assert page.count("data-sites") == 2
    live.reload()
    page = admin_client.get(reverse("wagtail_smtp_delivery:index")).content.decode()
    assert page.count("data-sites") == 2
    assert "data-sites>example.net</bdi>" in page


def test_a_changed_site_and_sender_are_in_the_comparison(two_sites, make_set):
    item = make_set(name="Net")
    live.reload()
    SettingsSet.objects.filter(pk=item.pk).update(sites=[two_sites[1].pk])
    SiteSender.objects.create(
        settings_set=item, site=two_sites[1], sender_name="Net", sender_address="a@example.net"
    )
    [change] = live.preview().changes
    assert str(change) == (
        "Net: Changed (Senders of sites: – → example.net: Net <a@example.net>; "
        "Sites: all sites → example.net)"
    )


def test_smtp_explain_explains_a_site(two_sites, make_set):
    make_set(name="Net", sites=[two_sites[1].pk])
    live.reload()

    def explained(*args):
        out = StringIO()
        call_command("smtp_explain", "form", *args, stdout=out, no_color=True)
        return out.getvalue().splitlines()

    assert explained("--site", "example.net")[0].startswith(
        "Email in category form of example.net is sent with Net"
    )
    assert explained()[0].startswith("Email in category form of example.org is sent with standard")
    assert "- Net: not for this site, only for example.net" in explained()
    with pytest.raises(CommandError, match=r"There is no site “example\.com”"):
        explained("--site", "example.com")


def test_the_log_is_filtered_by_site_and_says_how_it_was_found(admin_client, two_sites):
    _org, net = two_sites
    values = {"site_key": net.pk, "site": "example.net", "site_source": "page"}
    make_entry(subject="of net", **values)
    make_entry(subject="other")
    response = admin_client.get(reverse(LOG), {"site": str(net.pk)})
    assert [entry.subject for entry in response.context["object_list"]] == ["of net"]
    assert "<bdi>example.net</bdi>" in response.content.decode()
    entry = LogEntry.objects.get(subject="of net")
    page = admin_client.get(reverse("wagtail_smtp_log:entry", args=[entry.pk])).content.decode()
    assert "example.net (the site of the page)" in page
    response = admin_client.post(reverse("wagtail_smtp_log:export"), {"format": "csv"})
    text = b"".join(response.streaming_content).decode()
    assert "Site" in text.splitlines()[0]
    assert "example.net" in text
    response = admin_client.get(reverse(LOG), {"site": "no number"})
    assert response.status_code == 200
