"""References: which variables and files may be named, and what is read from them."""

import os

import pytest
from django.core.exceptions import ImproperlyConfigured

from wagtail_smtp import checks
from wagtail_smtp.config.references import PASSWORD, Reference, SecretContent
from wagtail_smtp.exceptions import ReferenceUnreadable, SecretUnreadable
from wagtail_smtp.transports.esp.catalog import PROVIDERS

CANARY = "c4nary-in-the-mine"


@pytest.fixture
def mounted(tmp_path, configure):
    """A directory that the project allows, with a secret in it."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "smtp").write_text(CANARY + "\n")
    configure(SECRET_DIRECTORIES=[folder])
    return folder


def _why(text):
    with pytest.raises(ReferenceUnreadable) as caught:
        Reference.of(text).resolve()
    assert CANARY not in f"{caught.value!r} {caught.value}"
    return str(caught.value)


def test_a_variable(monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", CANARY)
    reference = Reference.of("env:SMTP_PASSWORD")
    assert reference.resolve() == CANARY
    assert (str(reference), reference.label) == (
        "env:SMTP_PASSWORD",
        "environment variable SMTP_PASSWORD",
    )


@pytest.mark.parametrize("text", ["SMTP_PASSWORD", "env:", "vault:x", "", ":x"])
def test_what_is_no_reference(text):
    with pytest.raises(ValueError, match="no reference"):
        Reference.of(text)


@pytest.mark.threat(36)
@pytest.mark.parametrize(
    "name",
    [
        "DATABASE_URL",
        "smtp_password",
        "WAGTAIL_SMTP_X",
        "SMTP_A B",
        "SMTP_A\n",
        "SMTP_Ä",
        "S" * 600,
    ],
)
def test_other_variables_are_refused(monkeypatch, name):
    if name.isascii():
        monkeypatch.setenv(name, CANARY)
    assert Reference("env", name).refusal()
    _why(f"env:{name}")


def test_the_project_names_its_own_variables(monkeypatch, configure):
    monkeypatch.setenv("MAIL_KEY", CANARY)
    assert "SECRET_VARIABLES" in _why("env:MAIL_KEY")
    configure(SECRET_VARIABLES=["MAIL_*", "OTHER"])
    assert Reference.of("env:MAIL_KEY").resolve() == CANARY
    assert "MAIL_*, OTHER" in Reference.of("env:SMTP_PASSWORD").refusal()
    configure(SECRET_VARIABLES=[])
    assert Reference.of("env:MAIL_KEY").refusal()


def test_a_variable_that_is_not_text(monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", os.fsdecode(b"pw\xff"))
    assert "SMTP_PASSWORD is not UTF-8 text" in _why("env:SMTP_PASSWORD")


def test_a_missing_variable_says_what_to_do(monkeypatch):
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)
    text = _why("env:SMTP_PASSWORD")
    assert "SMTP_PASSWORD is missing" in text
    assert "restart" in text
    monkeypatch.setenv("SMTP_PASSWORD", "")
    assert "SMTP_PASSWORD is empty" in _why("env:SMTP_PASSWORD")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"pw\n", "pw"),
        (b"pw\r\n", "pw"),
        (b"pw", "pw"),
        (b" p w \n\n", " p w \n"),
        (b"\xef\xbb\xbfpw\r\n", "pw"),
        ("pässwörd".encode(), "pässwörd"),
    ],
)
def test_a_file(mounted, content, expected):
    (mounted / "smtp").write_bytes(content)
    assert Reference.of(f"file:{mounted}/smtp").resolve() == expected


def test_a_file_as_kubernetes_mounts_it(mounted):
    """A link to a link, which is replaced as a whole."""
    (mounted / "..2026").mkdir()
    (mounted / "..2026" / "key").write_text("first")
    (mounted / "..data").symlink_to("..2026")
    (mounted / "key").symlink_to("..data/key")
    reference = Reference.of(f"file:{mounted}/key")
    before = reference.state()
    assert reference.resolve() == "first"
    (mounted / "..2027").mkdir()
    (mounted / "..2027" / "key").write_text("later")
    (mounted / "..new").symlink_to("..2027")
    (mounted / "..new").rename(mounted / "..data")
    assert reference.resolve() == "later"
    assert reference.state() != before
    # Under the name of another version it is the same file.
    assert reference.is_same(Reference.of(f"file:{mounted}/..2027/key"))
    assert not reference.is_same(Reference.of(f"file:{mounted}/..2026/key"))


@pytest.mark.threat(36)
@pytest.mark.parametrize(
    "path",
    [
        *("{0}/../other", "{0}/./smtp", "{0}//smtp", "{0}/smtp/", "{0}", "{0}/link"),
        *("smtp", "/etc/passwd", "{0}/a\0b", "{0}/a\nb"),
    ],
)
def test_other_files_are_refused(mounted, path):
    (mounted.parent / "other").write_text(CANARY)
    (mounted / "link").symlink_to(mounted.parent / "other")
    reference = Reference("file", path.format(mounted))
    assert reference.refusal()
    _why(str(reference))


def test_no_file_is_allowed_by_default(tmp_path):
    (tmp_path / "smtp").write_text(CANARY)
    assert "SECRET_DIRECTORIES" in _why(f"file:{tmp_path}/smtp")


@pytest.mark.parametrize("directory", ["", ".", "secrets", "~/secrets"])
def test_a_directory_does_not_depend_on_where_a_process_starts(
    tmp_path, configure, monkeypatch, directory
):
    """An empty variable would allow everything below the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.py").write_text(CANARY)
    configure(SECRET_DIRECTORIES=["/run/secrets", directory])
    with pytest.raises(ImproperlyConfigured, match="SECRET_DIRECTORIES"):
        Reference.of(f"file:{tmp_path}/settings.py").refusal()
    assert [error.id for error in checks.check_keys()] == ["wagtail_smtp.E003"]


def test_files_that_can_not_be_used(mounted):
    path = mounted / "smtp"
    path.write_bytes(b"\xff\xfe")
    assert "UTF-8" in _why(f"file:{path}")
    path.write_bytes(b"\n")
    assert "is empty" in _why(f"file:{path}")
    path.write_bytes(b"x" * 100_000)
    assert "too large" in _why(f"file:{path}")
    path.unlink()
    assert "No such file" in _why(f"file:{path}")
    assert Reference.of(f"file:{path}").state() is None
    os.mkfifo(path)  # opening it would wait
    assert "not a file" in _why(f"file:{path}")
    assert "too long" in _why(f"file:{mounted}/{'x' * 300}")
    (mounted / "folder").mkdir()
    assert "not a file" in _why(f"file:{mounted}/folder")


def test_the_content_of_a_secret(monkeypatch):
    monkeypatch.setenv("SMTP_KEY", CANARY)
    stored = SecretContent.of({PASSWORD: "env:SMTP_KEY"})  # typed by a person
    assert (stored.resolved(), stored.references) == ("env:SMTP_KEY", {})
    content = SecretContent.of({PASSWORD: Reference.of("env:SMTP_KEY")})
    assert (content.text, content.resolved()) == ("env:SMTP_KEY", CANARY)
    keys = SecretContent.of({"a": "typed", "b": Reference.of("env:SMTP_KEY")})
    assert keys.references == {"b": "env:SMTP_KEY"}
    assert keys.resolved() == '{"a": "typed", "b": "' + CANARY + '"}'
    assert "typed" not in repr(keys)


def test_only_the_encrypted_reference_counts(monkeypatch):
    monkeypatch.setenv("SMTP_KEY", CANARY)
    for references in ({PASSWORD: "env:SMTP_KEY"}, {PASSWORD: "nonsense"}):
        with pytest.raises(SecretUnreadable, match="changed outside"):
            SecretContent("env:SMTP_OTHER", references).resolved()


def test_no_provider_has_an_option_named_like_a_single_value():
    names = {option.name for esp in PROVIDERS.values() for option in esp.options}
    assert PASSWORD not in names
