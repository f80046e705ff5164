"""A settings file as plain values, each with its line and column."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Names and indexes that lead to a value, such as ``("sets", 0, "port")``.
Path = tuple[str | int, ...]

#: Maximum depth of nested values. The format needs 5.
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, both from 1; the columns count characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class FileProblem:
    """Something wrong in a file. ``place`` is None if it is the whole file."""

    message: str
    place: Place | None = None


class FileRefused(Exception):
    """A settings file can't be used. It changed nothing.

    Attributes:
        problems: what is wrong, in the order of the file.
    """

    def __init__(self, name: str, problems: Iterable[FileProblem]) -> None:
        first = Place(0, 0)
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda p: p.place or first))
        super().__init__("\n".join(_line(name, problem) for problem in self.problems))


def _line(name: str, problem: FileProblem) -> str:
    """The problem as compilers write it, so that editors and CI link to it."""
    if problem.place is None:
        return f"{name}: {problem.message}"
    return f"{name}:{problem.place.line}:{problem.place.column}: {problem.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file.

    Attributes:
        name: for messages, as it was given.
        content: dictionaries, lists, text, whole numbers, booleans and None.
        values: where each value begins.
        keys: where the name of each value in a dictionary begins.
    """

    name: str
    content: Any
    values: Mapping[Path, Place]
    keys: Mapping[Path, Place]

    def at(self, path: Path) -> Place:
        """Where a value is; if there is none, where the one around it is."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values[path]

    def at_key(self, path: Path) -> Place:
        """Where the name of a value is; if there is none, where the one around it is."""
        return self.keys[path] if path in self.keys else self.at(path)


@dataclass(frozen=True, slots=True)
class Event:
    """A part of a file, as its syntax has it.

    Attributes:
        kind: ``end`` closes the last dictionary or list.
        text: a value as it is written, for names.
        problem: why a value can't be used; a name doesn't have this problem.
    """

    kind: Literal["dictionary", "list", "end", "value"]
    place: Place
    value: Any = None
    text: str = ""
    problem: str = ""


@dataclass(slots=True)
class _Open:
    """A dictionary or list that isn't closed yet."""

    path: Path
    content: dict[str, Any] | list[Any]
    #: In a dictionary: the name whose value comes next.
    name: str | None = None


@dataclass(slots=True)
class Assembler:
    """Builds a document from its events and collects its problems."""

    content: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[FileProblem] = field(default_factory=list)
    _open: list[_Open] = field(default_factory=list)

    def add(self, event: Event) -> bool:
        """Add the next event; return False if the rest of the file can't be read."""
        if event.kind == "end":
            self._open.pop()
            return True
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.content, dict) and parent.name is None:
            return self._name(parent, event)
        if len(self._open) == _MAX_DEPTH:
            self.problems.append(FileProblem("This is nested too deeply.", event.place))
            return False
        value = {"dictionary": {}, "list": []}.get(event.kind, event.value)
        path = self._put(parent, value)
        self.values[path] = event.place
        if event.kind != "value":
            self._open.append(_Open(path, value))
        elif problem := event.problem or _unusable(event.value):
            self.problems.append(FileProblem(problem, event.place))
        return True

    def _name(self, parent: _Open, event: Event) -> bool:
        if event.kind != "value":
            self.problems.append(FileProblem("A name must be text.", event.place))
            return False
        path = (*parent.path, event.text)
        if path in self.keys:
            text = f"“{event.text}” is already in line {self.keys[path].line}. Remove one of them."
            self.problems.append(FileProblem(text, event.place))
        self.keys[path] = event.place
        parent.name = event.text
        return True

    def _put(self, parent: _Open | None, value: Any) -> Path:
        if parent is None:
            self.content = value
            return ()
        if isinstance(parent.content, list):
            parent.content.append(value)
            return (*parent.path, len(parent.content) - 1)
        assert parent.name is not None
        path = (*parent.path, parent.name)
        parent.content[parent.name] = value
        parent.name = None
        return path


def _unusable(value: Any) -> str:
    """Why a text can't be stored; empty if it can."""
    if not isinstance(value, str):
        return ""
    if any(ord(character) < 32 and character not in "\t\n\r" for character in value):
        return "This text contains a control character."
    try:
        value.encode()
    except UnicodeEncodeError:
        return "This text contains an incomplete character (a lone surrogate)."
    return ""
