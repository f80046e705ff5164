"""What smtp_export writes, and what it never writes."""

import json
import sys
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command

from wagtail_smtp.config_files import schema
from wagtail_smtp.models import DeliverySettings, Secret, SettingsSet

CANARY = "canary-5c1d"


def export(*args: str) -> tuple[str, str]:
    """What the command writes to the output and to the error output."""
    out, errors = StringIO(), StringIO()
    call_command("smtp_export", *args, stdout=out, stderr=errors, no_color=True)
    return out.getvalue(), errors.getvalue()


@pytest.fixture
def office(make_set) -> SettingsSet:
    return make_set(
        name="Office 365",
        host="smtp.office365.com",
        ca_certificates="",
        username="news@example.com",
        password=CANARY,
        redirect=True,
        reports=["qa@example.com"],
    )


def test_yaml(office) -> None:
    DeliverySettings.objects.update_or_create(pk=1, defaults={"method": "standard"})
    text, errors = export()
    assert text == (
        f"# yaml-language-server: $schema={schema.URL}\n"
        "version: 1\n"
        "delivery: standard\n"
        "sets:\n"
        "  - id: office-365\n"
        "    name: Office 365\n"
        "    host: smtp.office365.com\n"
        "    username: news@example.com\n"
        "    password: {env: SMTP_OFFICE_365_PASSWORD}\n"
        "    redirect: true\n"
        "    report_emails:\n"
        "      - qa@example.com\n"
    )
    assert errors == (
        "Set these environment variables where you import the file:\n"
        "- SMTP_OFFICE_365_PASSWORD: password of “Office 365”\n"
    )


def test_json(office) -> None:
    text, _ = export("--format", "json")
    content = json.loads(text)
    assert content.pop("$schema") == schema.URL
    assert content == yaml.safe_load(export()[0])


def test_no_secret_and_no_mask(office, make_set) -> None:
    make_set(
        name="Brevo",
        transport="brevo",
        authentication="none",
        secret=Secret.objects.create(ciphertext="unreadable"),
    )
    for text in (*export(), *export("--format", "json")):
        assert CANARY not in text
        assert "*" not in text
        assert Secret.objects.first().ciphertext not in text


def test_an_empty_site(db: None) -> None:
    text, errors = export()
    assert text.endswith("version: 1\ndelivery: custom\nsets: []\n")
    assert errors == ""


def test_it_is_the_same_each_time_and_in_every_language(office, settings) -> None:
    first = export()
    settings.LANGUAGE_CODE = "de"
    assert export() == first


def test_a_removed_secret_is_left_out(office) -> None:
    Secret.objects.update(ciphertext="")
    text, errors = export()
    assert "password:" not in text
    assert errors == ""


@pytest.mark.parametrize(
    ("patterns", "name"),
    [
        (["MAIL_*"], "MAIL_OFFICE_365_PASSWORD"),
        (["EXACT", "MAIL_*"], "MAIL_OFFICE_365_PASSWORD"),
        (["*"], "OFFICE_365_PASSWORD"),
    ],
)
def test_variables_are_allowed_by_the_settings(office, configure, patterns, name) -> None:
    configure(SECRET_VARIABLES=patterns)
    text, errors = export()
    assert f"password: {{env: {name}}}\n" in text
    assert "SECRET_VARIABLES" not in errors


@pytest.mark.parametrize("patterns", [[], ["EXACT"]])
def test_variables_that_no_setting_allows_are_named(office, configure, patterns) -> None:
    configure(SECRET_VARIABLES=patterns)
    text, errors = export()
    assert "{env: SMTP_OFFICE_365_PASSWORD}" in text
    assert "doesn't allow these names yet: SMTP_OFFICE_365_PASSWORD." in errors


def test_variables_of_different_secrets_differ(make_set) -> None:
    for number, slug in enumerate(("a-b", "a_b", "a--b")):
        make_set(name=f"Set {number}", slug=slug, host="smtp.example.com")
    text, errors = export()
    names = [line.split()[1].strip(":") for line in errors.splitlines()[1:]]
    assert names == ["SMTP_A_B_PASSWORD", "SMTP_A_B_PASSWORD_2", "SMTP_A_B_PASSWORD_3"]
    for name in names:
        assert f"{{env: {name}}}" in text


def test_certificates_are_written_line_by_line(make_set) -> None:
    item = make_set(name="Own")
    lines = item.ca_certificates.strip().splitlines()
    SettingsSet.objects.update(ca_certificates="\r\n".join(lines))
    text, _ = export()
    assert "    ca_certificates: |-\n" + "".join(f"      {line}\n" for line in lines) in text


def test_a_file(office, tmp_path: Path) -> None:
    for name, start in (("email.yaml", "# yaml"), ("email.json", "{")):
        path = tmp_path / name
        out, errors = export("--output", str(path))
        assert out == ""
        assert "SMTP_OFFICE_365_PASSWORD" in errors
        assert path.read_text("utf-8").startswith(start)
    with pytest.raises(CommandError, match="can't be written"):
        export("--output", str(tmp_path))


def test_yaml_needs_a_package_and_json_does_not(office, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(CommandError, match=r'pip install "wagtail-smtp\[files\]"'):
        export()
    assert json.loads(export("--format", "json")[0])["version"] == 1
