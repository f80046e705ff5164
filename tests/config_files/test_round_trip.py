"""What is exported and imported elsewhere is the same."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.support.random_sets import RandomSets, snapshot
from wagtail_smtp.config_files.export import export
from wagtail_smtp.config_files.file import load
from wagtail_smtp.models import DeliverySettings, ReferenceUse, Secret, SettingsSet


def exported(path: Path) -> str:
    """Export to a file, and return what the command printed."""
    out, errors = StringIO(), StringIO()
    call_command("smtp_export", output=str(path), stdout=out, stderr=errors)
    return errors.getvalue()


def references() -> dict[str, dict[str, str]]:
    """Where the secrets of each set are read."""
    sets = SettingsSet.objects.exclude(secret=None).select_related("secret")
    return {item.slug: item.secret.references for item in sets}


def empty_the_database() -> None:
    SettingsSet.objects.all().delete()
    Secret.objects.all().delete()
    DeliverySettings.objects.all().delete()
    ReferenceUse.objects.all().delete()


@pytest.mark.parametrize("seed", range(100))
def test_a_random_configuration(db: None, configure, tmp_path: Path, seed: int) -> None:
    configure(SECRET_DIRECTORIES=["/run/secrets"])
    RandomSets(seed).save()
    before, given = snapshot(), references()
    content = export().content
    yaml, json_file = tmp_path / "email.yaml", tmp_path / "email.json"
    needed = exported(yaml)
    assert exported(json_file) == needed
    assert "canary" not in yaml.read_text("utf-8") + json_file.read_text("utf-8")

    empty_the_database()
    # Both formats contain the same.
    assert load(yaml).sets == load(json_file).sets
    call_command("smtp_import", str(yaml), "--yes", stdout=StringIO())
    assert snapshot() == before
    # Every secret is now read from elsewhere, those that were stored from a new variable.
    for slug, stored in references().items():
        assert set(stored) >= set(given[slug])
        for name, reference in given[slug].items():
            assert stored[name] == reference
        for name in stored.keys() - given[slug].keys():
            assert f"- {stored[name].removeprefix('env:')}: " in needed

    # The other way round: what was imported is exported as it was.
    assert exported(yaml) == ""
    assert export().content == content
    out = StringIO()
    call_command("smtp_import", str(yaml), "--yes", stdout=out)
    assert "Nothing to import." in out.getvalue()
