"""Files that agree with the format, and everything in which a file can differ from it."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wagtail_smtp.config_files.document import FileRefused
from wagtail_smtp.config_files.file import load

CANARY = "canary-8f2e"

#: A valid set, one field a line.
OFFICE: dict[str, Any] = {
    "id": "office",
    "name": "Office",
    "host": "smtp.example.com",
    "username": "me@example.com",
    "password": {"env": "SMTP_OFFICE"},
}


def written(tmp_path: Path, *sets: dict[str, Any] | Any, **values: Any) -> Path:
    """A JSON file with one line for each field of each set."""
    path = tmp_path / "email.json"
    path.write_text(json.dumps({"version": 1, "sets": sets, **values}, indent=0))
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(FileRefused) as caught:
        load(path)
    assert CANARY not in str(caught.value)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def problem(tmp_path: Path, **changes: Any) -> str:
    """The only problem of a set with these changes; None removes a field."""
    values = {name: value for name, value in (OFFICE | changes).items() if value is not None}
    [found] = problems(written(tmp_path, values))
    return found


def test_a_small_set(tmp_path: Path) -> None:
    file = load(written(tmp_path, OFFICE))
    assert file.method is None
    [item] = file.sets
    assert item.slug == "office"
    assert item.enabled
    assert item.config.port == 587
    assert item.config.authentication == "password"
    assert {name: str(each) for name, each in item.references.items()} == {
        "password": "env:SMTP_OFFICE"
    }


def test_spaces_and_line_endings_are_cleaned_as_in_the_admin(tmp_path: Path) -> None:
    [item] = load(written(tmp_path, OFFICE | {"name": " Office ", "host": "a.example "})).sets
    assert (item.config.name, item.config.host) == ("Office", "a.example")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"port": "587"}, "office, port: must be a whole number."),
        ({"port": 0}, "office, port: must be 1 or more."),
        ({"port": 70000}, "office, port: must be 65535 or less."),
        ({"port": True}, "office, port: must be a whole number."),
        ({"enabled": "yes"}, "office, enabled: must be true or false, without quotes."),
        ({"name": 5}, "office, name: must be text. Put it in quotes."),
        ({"name": True}, "office, name: must be text. Put it in quotes."),
        ({"name": "x" * 101}, "office, name: must have 100 characters or fewer."),
        ({"name": "  "}, "office, name: Enter a name."),
        ({"encryption": CANARY}, "office, encryption: must be one of: starttls, ssl, none."),
        ({"transport": CANARY}, "office, transport: must be one of: smtp, amazon_ses, "),
        ({"hots": CANARY}, "office: “hots” is not known here. Did you mean “host”?"),
        ({"colour": CANARY}, "office: “colour” is not known here."),
        ({"sort_order": 1}, "office: “sort_order” is not known here."),
        ({"host": None}, "office: “host” is missing."),
        ({"username": None}, "office: “username” is missing."),
        ({"categories": ["a", "a"]}, "office, categories: must not contain anything twice."),
        ({"categories": ["No!"]}, "office, categories, item 1: contains a character"),
        ({"categories": ["form\n"]}, "office, categories, item 1: contains a character"),
        ({"categories": "form"}, "office, categories: must be a list."),
        ({"ignored_extensions": ["TURBO"]}, "office, ignored_extensions, item 1: must be one of: "),
        (
            {"report_emails": [5]},
            "office, report_emails, item 1: must be text or a group of fields.",
        ),
        (
            {"report_emails": [{"address": "a@example.com", "on": True}]},
            "office, report_emails, item 1: “on” is not known here.",
        ),
        ({"host": "https://x"}, "office, host: Enter only a host name or IP address"),
        ({"redirect": True}, "office, redirect: Add and enable at least one report email"),
        ({"sender_address": "x"}, "office, sender_address: Enter a valid email address."),
        ({"name": "a\nb"}, "office, name: A name can't contain line breaks."),
        ({"provider": {}}, "office, provider: Only email providers use this. Remove it."),
        ({"oauth": {}}, "office, oauth: Only “authentication: oauth2” uses this. Remove it."),
        (
            {"authentication": "none"},
            "office, password: Only “authentication: password” uses this. Remove it.",
        ),
        ({"encryption": "none"}, "office, encryption: Without encryption, others could read"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(tmp_path: Path, changes: Any, text: str) -> None:
    found = problem(tmp_path, **changes)
    place, _, message = found.partition(": ")
    assert message.startswith(text)
    line = int(place.partition(":")[0])
    lines = (tmp_path / "email.json").read_text().splitlines()
    named = next(iter(changes)) if changes != {"authentication": "none"} else "password"
    if "is missing" in text:
        assert lines[line - 1] == "{"
    elif "item 1" not in text:
        assert lines[line - 1].startswith(f'"{named}"')


@pytest.mark.parametrize(
    "given",
    [
        CANARY,
        "****",
        "",
        5,
        True,
        [CANARY],
        {},
        {CANARY: None},
        {"env": CANARY},
        {"env": 5},
        {"env": ""},
        {"file": ""},
        {"env": "SMTP_X", "file": "/run/secrets/x"},
        {"value": CANARY},
        {"plain": CANARY},
        {"env": {"x": CANARY}},
    ],
)
def test_a_secret_can_only_be_a_reference_and_is_never_repeated(tmp_path: Path, given) -> None:
    for sets in (
        OFFICE | {"password": given},
        {"id": "a", "name": "A", "transport": "brevo", "provider": {"api_key": given}},
        OFFICE
        | {
            "authentication": "oauth2",
            "oauth": {
                "provider": "microsoft",
                "flow": "client",
                "tenant": "t",
                "client_id": "c",
                "client_secret": given,
            },
        },
    ):
        item = {k: v for k, v in sets.items() if "oauth" not in sets or k != "password"}
        for found in problems(written(tmp_path, item)):
            assert "The secret itself can't be in this file." in found


def test_a_secret_in_a_name_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "email.yaml"
    path.write_text(f"version: 1\nsets:\n- {{id: a, name: A, host: x, password:{CANARY}}}\n")
    found = problems(path)
    assert "a: This name is not known here." in found[-1]


def test_a_secret_without_a_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "email.yaml"
    path.write_text(
        "version: 1\nsets:\n- id: a\n  name: A\n  host: x\n  username: u\n  password:\n"
    )
    [found] = problems(path)
    assert found.startswith("7:")
    assert "The secret itself can't be in this file." in found


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"env": "DATABASE_URL"}, "its name must match SMTP_*"),
        ({"env": "smtp_x"}, "its name must match SMTP_*"),
        ({"file": "/etc/passwd"}, "it must be in one of these directories"),
        ({"file": "secret"}, "file"),
        ({"file": "/run/secrets/../../etc/passwd"}, "file"),
    ],
)
def test_a_reference_must_be_allowed(tmp_path: Path, configure, given, text) -> None:
    configure(SECRET_DIRECTORIES=["/run/secrets"])
    found = problem(tmp_path, password=given)
    assert found.startswith("9:")
    assert text in found


@pytest.mark.parametrize("slug", ["a b", "ä", "", "x" * 51, "a/b"])
def test_an_id_has_only_plain_characters(tmp_path: Path, slug: str) -> None:
    assert "can't be used here" in problem(tmp_path, id=slug)


def test_duplicates_are_refused(tmp_path: Path) -> None:
    found = problems(written(tmp_path, OFFICE, OFFICE | {"id": "OFFICE", "name": "office"}))
    assert [line.partition(": ")[2] for line in found] == [
        "OFFICE, id: Another set has this id already, in line 5.",
        "OFFICE, name: Another set has this name already, in line 6.",
    ]
    one_line = tmp_path / "email.json"
    one_line.write_text(json.dumps({"version": 1, "sets": [OFFICE, OFFICE]}))
    assert len(problems(one_line)) == 2


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"sets": []}, "“version” is missing."),
        ({"version": 1}, "“sets” is missing."),
        ({"version": 2, "sets": []}, "version: must be 1."),
        ({"version": "1", "sets": []}, "version: must be 1."),
        ({"version": True, "sets": []}, "version: must be 1."),
        ({"version": 1, "sets": {}}, "sets: must be a list."),
        ({"version": 1, "sets": ["x"]}, "set 1: must be a group of fields."),
        ({"version": 1, "sets": [], "delivery": "fast"}, "delivery: must be one of: custom, "),
        ({"version": 1, "sets": [], "set": []}, "“set” is not known here. Did you mean “sets”?"),
        ([], "must be a group of fields."),
        ("text", "must be a group of fields."),
    ],
)
def test_the_whole_file(tmp_path: Path, content: Any, text: str) -> None:
    path = tmp_path / "email.json"
    path.write_text(json.dumps(content))
    [found] = problems(path)
    assert found.partition(": ")[2].startswith(text)


def test_the_schema_can_be_named(tmp_path: Path) -> None:
    assert load(written(tmp_path, **{"$schema": "https://example.com/x.json"})).sets == ()


def test_all_problems_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = problems(
        written(tmp_path, OFFICE | {"port": 0, "hots": 1}, OFFICE | {"id": "b", "name": None})
    )
    lines = [int(line.partition(":")[0]) for line in found]
    assert len(lines) == 3
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("provider", "text"),
    [
        ({"api_key": {"env": "SMTP_K"}, "region": "eu"}, "“region” is not known here."),
        ({"api_url": "https://evil.example"}, "a, provider.api_url: must be one of: "),
        ({"sender_domain": "no domain"}, "a, provider.sender_domain: Enter only a domain"),
    ],
)
def test_options_of_an_email_provider(tmp_path: Path, provider: Any, text: str) -> None:
    item = {"id": "a", "name": "A", "transport": "mailgun", "provider": provider}
    [found] = problems(written(tmp_path, item))
    assert text in found


def test_an_email_provider_needs_no_server(tmp_path: Path) -> None:
    item = {
        "id": "a",
        "name": "A",
        "transport": "postmark",
        "host": "x",
        "ca_certificates": "x",
        "provider": {"server_token": {"env": "SMTP_T"}},
    }
    assert [line.partition(": ")[2] for line in problems(written(tmp_path, item))] == [
        "a, host: Only SMTP uses this. Remove it.",
        "a, ca_certificates: This email provider doesn't use it. Remove it.",
    ]


@pytest.mark.parametrize(
    ("oauth", "text"),
    [
        ({"provider": "google", "flow": "client"}, "oauth.flow: must be one of: service_account"),
        ({"provider": "google", "flow": "service_account", "tenant": "x"}, "don't use it"),
        ({"provider": "google", "flow": "consent"}, "“client_id” is missing"),
        (
            {"provider": "microsoft", "flow": "client", "tenant": "common", "client_id": "c"},
            "oauth.tenant: Enter the ID of your own tenant",
        ),
        ({"flow": "client"}, "“provider” is missing"),
    ],
)
def test_options_of_oauth(tmp_path: Path, oauth: Any, text: str) -> None:
    item = {k: v for k, v in OFFICE.items() if k != "password"}
    [found] = problems(written(tmp_path, item | {"authentication": "oauth2", "oauth": oauth}))
    assert text in found


@pytest.mark.parametrize(("module", "name"), [("yaml", "email.yaml"), ("jsonschema", "email.json")])
def test_missing_packages_are_named(tmp_path: Path, monkeypatch, module, name) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / name
    path.write_text('{"version": 1, "sets": []}')
    [found] = problems(path)
    assert 'pip install "wagtail-smtp[files]"' in found


def test_an_id_ends_with_its_last_character(tmp_path: Path) -> None:
    """Python's ``$`` also matches before a line break."""
    assert "set 1, id: contains a character that can't be" in problem(tmp_path, id="office\n")


def test_a_file_full_of_mistakes_is_refused_with_the_first(tmp_path: Path) -> None:
    path = tmp_path / "email.json"
    path.write_text(json.dumps({"version": 1, "sets": [{}] * 5000}))
    began = time.monotonic()
    with pytest.raises(FileRefused) as caught:
        load(path)
    assert time.monotonic() - began < 5
    assert 50 <= len(caught.value.problems) <= 101
    assert "set 1: “name” is missing." in str(caught.value)
