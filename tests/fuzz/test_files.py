"""Files that are imported: refused with a place, or read; nothing else is raised."""

import json
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.cases import addresses, budget, each, junk, mutated, several, texts
from wagtail_smtp.admin.suppressed import reading
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.config_files import file, reader
from wagtail_smtp.config_files.document import FileRefused

CANARY = "c4nary-of-a-file"
GOOD = """delivery: custom
sets:
  - id: office
    name: Office
    host: smtp.example.com
    port: 587
    authentication: password
    username: user@example.com
    password: {env: SMTP_PASSWORD}
"""
TOKENS = (
    *(
        "sets:\n",
        "  - id: a\n",
        "    name: b\n",
        "    port: 587\n",
        "delivery: custom\n",
        "- ",
        "? ",
    ),
    *("{", "}", "[", "]", "&a ", "*a", "<<: *a\n", "!!python/object/apply:os.system", "!x ", "|\n"),
    *(">-\n", "'", '"', ": ", ":", "#", "\t", "%YAML 1.1\n", "---\n", "...\n", "\n", "  ", ", "),
    *("1e999", "0x1F", "1_000", "2026-01-01", ".inf", "~", "yes", "\\u0000", "\\ud800", "\x00"),
    *(
        "\ufeff",
        "\x85",
        "\u2028",
        "é",
        "😀",
        f"    password: {CANARY}\n",
        f"password: '{CANARY}'\n",
    ),
)
DOCUMENTS = st.one_of(
    st.lists(st.sampled_from(TOKENS), max_size=14).map("".join),
    st.tuples(st.integers(0, len(GOOD)), st.lists(st.sampled_from(TOKENS), max_size=3)).map(
        lambda at: GOOD[: at[0]] + "".join(at[1]) + GOOD[at[0] :]
    ),
    texts(),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


#: In YAML 1.1, section 5.4.
LINE_BREAKS = "\n\r\x85\u2028\u2029"


@budget(0.25)
@given(cases=several(st.tuples(DOCUMENTS, st.sampled_from(("a.yaml", "a.json")))))
def test_documents(folder, cases):
    for text, name in each("settings files", cases):
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            document = reader.read(name)
        except FileRefused as refused:
            _check(refused, text)
        else:
            assert document.values[()].line <= sum(map(text.count, LINE_BREAKS)) + 2


def _check(refused: FileRefused, text: str) -> None:
    assert refused.problems
    last = len(text.splitlines()) + 2
    for problem in refused.problems:
        assert problem.message
        assert len(problem.message) < 2000
        if problem.place is not None:
            assert 1 <= problem.place.line <= last
            assert problem.place.column >= 1


@budget(0.1)
@given(cases=several(DOCUMENTS))
def test_files(folder, cases):
    """The whole check. What stands where a secret belongs isn't repeated."""
    for text in each("settings files, checked", cases):
        Path("a.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = file.load("a.yaml")
        except FileRefused as refused:
            _check(refused, text)
            if text.count(CANARY) == text.count(f"password: {CANARY}\n"):
                assert CANARY not in str(refused)
        else:
            assert len(found.sets) <= text.count("id")


CONTENT = {
    "delivery": "custom",
    "sets": [
        {
            "id": "office",
            "name": "Office",
            "host": "smtp.example.com",
            "port": 587,
            "authentication": "password",
            "username": "u",
            "password": {"env": "SMTP_PASSWORD"},
            "redirect": True,
            "report_emails": ["qa@example.com"],
            "categories": ["form"],
        }
    ],
}


@budget(0.1)
@given(cases=several(mutated(CONTENT, junk())))
def test_contents(folder, cases):
    """A value of a wrong type is refused at its place."""
    for content in each("contents of settings files", cases):
        text = json.dumps(content)
        Path("a.json").write_text(text)
        try:
            file.load("a.json")
        except FileRefused as refused:
            _check(refused, text)


CELLS = st.one_of(
    addresses(), texts(), st.sampled_from(("Email", "reason", '"a@b.example"', "'=1"))
)
ROWS = st.lists(CELLS, max_size=3).map(",".join)
LISTS = st.builds(
    lambda rows, separator: separator.join(rows),
    st.lists(ROWS, max_size=6),
    st.sampled_from(("\n", "\r\n", "\r", ";", "\t")),
)
ENCODINGS = st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"))


@budget(0.4)
@given(several(st.tuples(LISTS, ENCODINGS)))
def test_suppression_lists(cases):
    """Each address is valid and there once; whatever isn't one is named with its line."""
    for text, encoding in each("lists of addresses", cases):
        for read in (reading.from_text, _from_csv(encoding)):
            try:
                found = read(text)
            except ValidationError:
                continue
            assert len(set(found.valid)) == len(found.valid)
            assert all(map(is_email_address, found.valid))
            assert all(number >= 1 and shown for number, shown in found.invalid)
            again = reading.from_text("\n".join(found.valid))
            assert again.valid == found.valid


def _from_csv(encoding):
    return lambda text: reading.from_csv(text.encode(encoding, "replace"))
