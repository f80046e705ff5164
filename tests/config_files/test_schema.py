"""The published schema is valid, and agrees with the model and the email providers."""

import ast
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import wagtail_smtp
from wagtail_smtp.config.oauth import FLOWS, OAuth
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.config_files import schema
from wagtail_smtp.config_files.file import load
from wagtail_smtp.models import SettingsSet
from wagtail_smtp.transports.esp.catalog import PROVIDERS

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(wagtail_smtp.__file__).parent / "config_files" / "schemas" / schema.NAME


def test_the_file_is_what_the_code_describes() -> None:
    """``make schema`` writes it."""
    text = json.dumps(schema.build(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("WAGTAIL_SMTP_WRITE_SCHEMA"):
        FILE.write_text(text, "utf-8")
    assert FILE.read_text("utf-8") == text, "run: make schema"


@pytest.mark.parametrize("language", ["en", "de"])
def test_it_is_the_same_in_every_language(settings, language) -> None:
    settings.LANGUAGE_CODE = language
    assert schema.build() == schema.load()


def test_it_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(schema.load())


def test_its_address_is_in_the_documentation() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert schema.load()["$id"] == f"{urls['Documentation']}{FILE.name}"
    # The folder's files are published in the documentation's root.
    assert '"../wagtail_smtp/config_files/schemas"' in (ROOT / "docs" / "conf.py").read_text()


def test_it_has_every_field_of_a_set() -> None:
    properties = schema.load()["$defs"]["set"]["properties"]
    values = set(SettingsSetConfig.__dataclass_fields__)
    renamed = {"key": "id", "secret": "password"}
    # The secret of delivery tracking stays where it was created.
    expected = {renamed.get(name, name) for name in values - {"webhook_secret"}} | {"enabled"}
    assert set(properties) == expected


def test_defaults_are_those_of_the_model() -> None:
    properties = schema.load()["$defs"]["set"]["properties"]
    new = SettingsSet()
    for name, part in properties.items():
        if "default" in part and name not in ("report_emails", "site_senders"):
            assert part["default"] == getattr(new, name), name


def test_it_has_every_option() -> None:
    definitions = schema.load()["$defs"]
    for provider in PROVIDERS.values():
        properties = definitions[provider.slug]["properties"]
        assert list(properties) == [option.name for option in provider.options]
        secrets = {name for name, part in properties.items() if "$ref" in part}
        assert secrets == {option.name for option in provider.options if option.is_secret}
    options = set(definitions["oauth"]["properties"])
    assert options == {*OAuth.__slots__, *schema.OAUTH_SECRETS.values()}
    assert set(schema.OAUTH_SECRETS) == {flow for flows in FLOWS.values() for flow in flows}


REFERENCE = ROOT / "docs" / "reference" / "settings-file.md"


def documented(section: str) -> dict[str, list[str]]:
    """The other cells of each row of a table, by its first one."""
    text = REFERENCE.read_text().partition(f" {section}\n")[2].partition("\n#")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows}


@pytest.mark.parametrize(
    ("section", "definition"), [("The whole file", None), ("A set", "set"), ("OAuth 2", "oauth")]
)
def test_the_reference_has_every_field_with_its_default(section, definition) -> None:
    part = schema.load()["$defs"][definition] if definition else schema.load()
    rows = documented(section)
    assert set(rows) == set(part["properties"])
    if definition:
        assert list(rows) == list(part["properties"])
    for name, (default, _meaning) in rows.items():
        if default == "required":
            assert name in part["required"]
        elif default in ("–", "unchanged"):
            assert "default" not in part["properties"][name]
        else:
            assert ast.literal_eval(default.strip("`")) == part["properties"][name]["default"]


def test_the_reference_has_every_email_provider() -> None:
    rows = documented("Email providers")
    assert set(rows) == set(PROVIDERS)
    for slug, cells in rows.items():
        options, keys = (re.findall(r"`(\w+)`", cell) for cell in cells)
        provider = PROVIDERS[slug]
        assert options == [option.name for option in provider.options if not option.is_secret]
        assert keys == [option.name for option in provider.options if option.is_secret]


def test_the_example_of_the_reference_is_valid(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.+?)```", REFERENCE.read_text(), re.DOTALL)
    assert schema.URL in example
    path = tmp_path / "email.yaml"
    path.write_text(example)
    assert [item.slug for item in load(path).sets] == ["office-365", "mailgun"]
