"""Reading YAML and JSON: values, their places, and everything that is refused."""

import json
from pathlib import Path

import pytest

from wagtail_smtp.config_files.document import FileRefused, Place
from wagtail_smtp.config_files.reader import MAX_BYTES, read

# Of texts and name servers alone, whatever the versions of Django and Wagtail.
pytestmark = pytest.mark.same_on_all_versions

#: Stands where a password could be, so no message may contain it.
CANARY = "canary-8f2e"


@pytest.fixture
def write(tmp_path: Path):
    """Write a file and return its path: ``write("version: 1", "email.yaml")``."""

    def write(content: str | bytes, name: str = "email.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refused(path: Path) -> list[str]:
    """The problems of a file without its path."""
    with pytest.raises(FileRefused) as caught:
        read(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(path)) for line in lines)
    assert CANARY not in str(caught.value)
    return [line.removeprefix(f"{path}:").strip() for line in lines]


YAML = """\
# A comment
version: 1
sets:
  - name: "Größe 📮"   # the first
    enabled: false
    list: [a, "b",
      c]
    nothing:
  - {name: x, password: {env: SMTP_X}}
"""


def test_yaml_has_values_and_places(write) -> None:
    document = read(write(YAML))
    assert document.content == {
        "version": 1,
        "sets": [
            {"name": "Größe 📮", "enabled": False, "list": ["a", "b", "c"], "nothing": None},
            {"name": "x", "password": {"env": "SMTP_X"}},
        ],
    }
    assert document.at(("version",)) == Place(2, 10)
    assert document.at_key(("version",)) == Place(2, 1)
    assert document.at(("sets", 0, "list", 2)) == Place(7, 7)
    assert document.at(("sets", 1, "password", "env")) == Place(9, 31)
    assert document.at_key(("sets", 1, "password", "env")) == Place(9, 26)
    # Of what isn't there: the place around it.
    assert document.at(("sets", 1, "host")) == Place(9, 5)


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_has_the_same_values_and_its_own_places(write, indent) -> None:
    content = {**read(write(YAML)).content, "text": 'quote " \\ / \n\t{}[],: é 📮', "n": -12}
    text = json.dumps(content, indent=indent, ensure_ascii=indent is None)
    document = read(write(text, "email.json"))
    assert document.content == content
    lines = text.splitlines()
    for path, place in document.keys.items():
        written = lines[place.line - 1][place.column - 1 :]
        assert written.startswith(json.dumps(path[-1]))
    assert document.at(("n",)).line == len(lines) - (indent is not None)


def test_a_byte_order_mark_is_no_content(write) -> None:
    for name in ("email.yaml", "email.json"):
        assert read(write(b'\xef\xbb\xbf{"version": 1}', name)).content == {"version": 1}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-12", -12),
        ("587", 587),
        ("text", "text"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("2024-01", "2024-01"),
        ("smtp.example.com", "smtp.example.com"),
        ("'no'", "no"),
        ('"1e3"', "1e3"),
        ("''", ""),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_plain_values(write, written, value) -> None:
    assert read(write(f"x: {written}\n")).content == {"x": value}


#: As YAML 1.1, 1.2 or another reader has them.
NOT_ONLY_TEXT = (
    *("no", "No", "NO", "yes", "on", "Off", "y", "n", "True", "FALSE", "Null"),
    *("0o10", "010", "0x1F", "0b1", "1e3", "1.5", ".5", "1_000", "+5", "1:30", ".inf", ".nan"),
    *("2026-01-01", "2026-01-01 10:00:00", "=", "<<"),
)


@pytest.mark.parametrize("written", NOT_ONLY_TEXT)
def test_unquoted_text_that_programs_read_differently_is_refused(write, written) -> None:
    [problem] = refused(write(f"first: x\nx: {written}\n"))
    assert problem.startswith("2:4: ")
    assert "put it in quotes" in problem
    for quoted in (f"'{written}'", f'"{written}"'):
        assert read(write(f"x: {quoted}\n")).content == {"x": written}


@pytest.mark.parametrize("written", ["1.5", "1e3", "1E3", "NaN", "Infinity", "-Infinity", "9" * 30])
def test_json_has_only_whole_numbers(write, written) -> None:
    [problem] = refused(write(f'{{"x":\n {written}}}', "email.json"))
    assert problem.startswith("2:2: ")


def test_numbers_of_any_length_are_no_crash(write) -> None:
    assert "2:" in refused(write('{"x":\n' + "9" * 10_000 + "}", "email.json"))[0]
    assert "2:4:" in refused(write("y: 1\nx: " + "9" * 10_000))[0]


@pytest.mark.parametrize(
    ("content", "name", "place", "text"),
    [
        ("a: &x 1\nb: 2", "email.yaml", "1:4", "Anchors"),
        (f"a: &{CANARY} 1", "email.yaml", "1:4", "Anchors"),
        (f"a: 1\nb: *{CANARY}", "email.yaml", "2:4", "Anchors"),
        ("a: &x [1]\nb: &y [*x, *x]\nc: [*y, *y]", "email.yaml", "1:4", "Anchors"),
        ("a: 1\nb:\n  <<: *a", "email.yaml", "3:7", "Anchors"),
        (f"a: !{CANARY} x", "email.yaml", "1:4", "Tags"),
        ("a: !!python/object/apply:os.system [ls]", "email.yaml", "1:4", "Tags"),
        ("a: !!str 1", "email.yaml", "1:4", "Tags"),
        ("a: 1\n---\nb: 1", "email.yaml", "2:1", "one document"),
        ("a: 1\nb: 2\na: 3", "email.yaml", "3:1", "“a” is already in line 1"),
        ("x:\n  - a: 1\n    a: 1", "email.yaml", "3:5", "“a” is already in line 2"),
        ('{"a": 1,\n"b": 2,\n"a": 3}', "email.json", "3:1", "“a” is already in line 1"),
        ("? [a]\n: b", "email.yaml", "1:3", "A name must be text"),
        ("? {a: b}\n: c", "email.yaml", "1:3", "A name must be text"),
        ("a:\n\tb: 1", "email.yaml", "2:1", "This is not YAML"),
        ("a: [1, 2", "email.yaml", "1:9", "This is not YAML"),
        (f"a: 'x\nb: {CANARY}", "email.yaml", "2:15", "This is not YAML"),
        (f'a: "{CANARY}\\q"', "email.yaml", "1:17", "This is not YAML"),
        (f"password: {CANARY}: x", "email.yaml", "1:22", "This is not YAML"),
        (f"password: @{CANARY}", "email.yaml", "1:11", "This is not YAML"),
        (f"password: `{CANARY}", "email.yaml", "1:11", "This is not YAML"),
        ("a: 1\nb: \x07", "email.yaml", "2:4", "control character"),
        ('a: "\\0"', "email.yaml", "1:4", "control character"),
        ('{"a":\n"\\u0000"}', "email.json", "2:1", "control character"),
        ('a: "\\ud83d"', "email.yaml", "1:4", "incomplete character"),
        ('{"a": "\\ud83d"}', "email.json", "1:7", "incomplete character"),
        (f'{{"a": 1,\n"b": {CANARY}}}', "email.json", "2:6", "This is not JSON"),
        ('{"a": 1,\n"b" 2}', "email.json", "2:5", "This is not JSON"),
        ("{'a': 1}", "email.json", "1:2", "This is not JSON"),
        ("a: 1", "email.json", "1:1", "This is not JSON"),
        ("[" * 50 + "]" * 50, "email.yaml", "1:21", "nested too deeply"),
        ("[" * 50 + "]" * 50, "email.json", "1:21", "nested too deeply"),
        ("- " * 50 + "x", "email.yaml", "1:41", "nested too deeply"),
    ],
)
def test_refused_syntax_has_a_place_and_is_not_repeated(write, content, name, place, text) -> None:
    problem = refused(write(content, name))[0]
    assert problem.startswith(f"{place}: ")
    assert text in problem


def test_brackets_by_the_thousand_are_no_crash(write) -> None:
    for name in ("email.yaml", "email.json"):
        [problem] = refused(write("[" * 100_000, name))
        assert "This is n" in problem


def test_all_problems_are_named_at_once(write) -> None:
    problems = refused(write("a: no\nb: 1\nb: on\n"))
    assert [problem.partition(" ")[0] for problem in problems] == ["1:4:", "3:1:", "3:4:"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("name: Größe".encode("latin-1"), "1:9"),
        (b"a: 1\nb: \xff", "2:4"),
        ("a: 1".encode("utf-16"), "1:1"),
        ("a: 1\nb: é".encode()[:-1], "2:4"),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_line_and_byte(write, content, place) -> None:
    for name in ("email.yaml", "email.json"):
        [problem] = refused(write(content, name))
        assert problem.startswith(f"{place}: ")
        assert "UTF-8" in problem


def test_a_large_file_is_refused_before_it_is_parsed(write, monkeypatch) -> None:
    monkeypatch.setattr("yaml.parse", None)
    [problem] = refused(write("a: 1\n" * 2_000_000))
    assert "larger than 1 MB" in problem
    [problem] = refused(write(b"x" * (MAX_BYTES + 1), "email.json"))
    assert "larger than 1 MB" in problem


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (r'a: "\U00110000"', "1:7"),
        ('b: 1\na: "x\\UFFFFFFFF"', "2:8"),
        (f"%YAML 1.{'9' * 5000}\n---\na: 1", "1:9"),
    ],
    ids=["no character", "no number", "version"],
)
def test_what_yaml_cannot_convert_is_refused(write, content, place) -> None:
    [problem] = refused(write(content))
    assert problem == f"{place}: This is not YAML: an escape or number here can't be read."


@pytest.mark.parametrize("content", ["", "\n", "# only a comment\n", "---\n", "null"])
def test_an_empty_file_is_refused(write, content) -> None:
    assert refused(write(content)) == ["The file is empty."]


def test_a_file_that_cannot_be_read_is_refused(tmp_path) -> None:
    assert "No such file" in refused(tmp_path / "missing.yaml")[0]
    assert "directory" in refused(tmp_path)[0]
