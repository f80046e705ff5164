"""Read a settings file: its size, encoding and syntax."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from wagtail_smtp.config_files import json_events
from wagtail_smtp.config_files.document import (
    Assembler,
    Document,
    Event,
    FileProblem,
    FileRefused,
    Place,
)

#: Maximum size in bytes. A set has about 500.
MAX_BYTES = 1_000_000
#: The command that installs what settings files need.
INSTALL = 'pip install "wagtail-smtp[files]"'
#: What it installs, by the names of their modules.
_PACKAGES = {"yaml": "PyYAML", "jsonschema": "jsonschema"}


def missing_packages() -> tuple[str, ...]:
    """The packages that settings files need and that are not installed."""
    return tuple(
        package for name, package in _PACKAGES.items() if importlib.util.find_spec(name) is None
    )


def read(path: str | os.PathLike[str]) -> Document:
    """Read a file; JSON if its name ends in ``.json``, else YAML.

    Raises:
        FileRefused: it can't be read, or its size, encoding or syntax is refused.
    """
    name = _shown(path)
    text = _text(name)
    assembler = Assembler()
    for event in _json(name, text) if Path(name).suffix.lower() == ".json" else _yaml(name, text):
        if isinstance(event, FileProblem):
            assembler.problems.append(event)
        elif assembler.add(event):
            continue
        break
    if assembler.problems:
        raise FileRefused(name, assembler.problems)
    if assembler.content is None:
        raise FileRefused(name, [FileProblem("The file is empty.")])
    return Document(name, assembler.content, assembler.values, assembler.keys)


def _shown(path: str | os.PathLike[str]) -> str:
    """The path for messages: shorter if it is below the current directory."""
    given, here = Path(path), Path.cwd()
    return str(given.relative_to(here) if given.is_relative_to(here) else given)


def _text(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise FileRefused(name, [FileProblem(f"The file can't be read: {why}.")]) from None
    if len(content) > MAX_BYTES:
        raise FileRefused(name, [FileProblem("The file is larger than 1 MB.")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        byte = error.start - before.rfind(b"\n")
        text = f"The file is not UTF-8: byte {byte} of this line is 0x{content[error.start]:02x}."
        raise FileRefused(name, [FileProblem(text, Place(line, byte))]) from None


def _json(name: str, text: str) -> Iterator[Event | FileProblem]:
    fault = json_events.fault(text) if text.strip() else None
    if fault is not None:
        yield fault
        return
    yield from json_events.events(text)


def _yaml(name: str, text: str) -> Iterator[Event | FileProblem]:
    if "PyYAML" in missing_packages():
        yield FileProblem(f"YAML needs a package. Run: {INSTALL}")
        return
    from wagtail_smtp.config_files import yaml_events

    try:
        yield from yaml_events.events(text)
    except yaml_events.YAMLFault as error:
        yield error.problem
