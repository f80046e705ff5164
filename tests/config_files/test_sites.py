"""Sites in settings files: named by their hostnames."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.support.sites import make_sites
from wagtail_smtp.config_files.export import export
from wagtail_smtp.models import SettingsSet, SiteSender


@pytest.fixture
def two_sites(db):
    return make_sites()


def load(path, **values):
    item = {"id": "net", "name": "Net", "host": "smtp.example.com", "authentication": "none"}
    path.write_text(json.dumps({"version": 1, "sets": [item | values]}))
    call_command("smtp_import", str(path), "--yes", stdout=StringIO())
    return SettingsSet.objects.get()


def test_they_are_imported_and_exported_by_hostname(two_sites, tmp_path):
    org, net = two_sites
    sender = {"site": "example.org", "address": "shop@example.org"}
    item = load(tmp_path / "email.json", sites=["EXAMPLE.net"], site_senders=[sender])
    assert item.sites == [net.pk]
    assert SiteSender.objects.get().site == org
    [exported] = export().content["sets"]
    assert exported["sites"] == ["example.net"]
    assert exported["site_senders"] == [sender]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"sites": ["example.com"]}, "net, sites: There is no site “example.com”"),
        ({"site_senders": [{"site": "x.org", "name": "X"}]}, "net, site_senders: There is no site"),
        ({"site_senders": [{"site": "example.org"}]}, "Enter a sender name or a sender address"),
        (
            {"site_senders": [{"site": "example.org", "address": "nobody"}]},
            "Enter a valid email address",
        ),
        (
            {
                "site_senders": [
                    {"site": "example.org", "name": "A"},
                    {"site": "example.org:80", "name": "B"},
                ]
            },
            "A site can have one sender only",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_imported(two_sites, tmp_path, values, error):
    with pytest.raises(CommandError, match=error):
        load(tmp_path / "email.json", **values)
    assert not SettingsSet.objects.exists()


def test_a_deleted_site_is_not_exported_as_all_sites(two_sites, make_set, tmp_path):
    make_set(name="Net", authentication="none", sites=[two_sites[1].pk])
    two_sites[1].delete()
    [exported] = export().content["sets"]
    assert exported["sites"]
    with pytest.raises(CommandError, match="There is no site “deleted-site-"):
        load(tmp_path / "email.json", sites=exported["sites"])
