"""Compare a settings file with the schema, and say where it differs.

Messages never repeat a value: it may be a password in the wrong place.
"""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any

from wagtail_smtp.config_files import schema
from wagtail_smtp.config_files.document import Document, FileProblem, Path
from wagtail_smtp.config_files.reader import INSTALL, missing_packages

#: How many differences are reported. A file with more isn't a settings file.
_MOST = 100
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false, without quotes",
    "array": "a list",
    "object": "a group of fields",
}


def problems(document: Document) -> Iterator[FileProblem]:
    """Yield what is wrong, each with its place."""
    if "jsonschema" in missing_packages():
        yield FileProblem(f"Settings files need a package. Run: {INSTALL}")
        return
    found = list(islice(_validator().iter_errors(document.content), _MOST))
    refused = {tuple(error.absolute_path) for error in found if error.validator == "not"}
    for error in found:
        path = tuple(error.absolute_path)
        # What is wrong inside a field that has to be removed doesn't matter.
        if error.validator == "not" or not any(path[: len(each)] == each for each in refused):
            yield from _problems(document, error)


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema.load())


def _problems(document: Document, error: Any) -> Iterator[FileProblem]:
    path: Path = tuple(error.absolute_path)
    name = named(document, path)
    if _is_secret(error.schema):
        yield FileProblem(f"{_prefix(name)}{_WHERE}", document.at(path))
    elif error.validator == "additionalProperties":
        known = error.schema["properties"]
        for key in error.instance:
            if key not in known:
                at = document.at_key((*path, key))
                yield FileProblem(f"{_prefix(name)}{_unknown(key, known)}", at)
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                yield FileProblem(f"{_prefix(name)}“{key}” is missing.", document.at(path))
    elif error.validator == "not":
        text = f"{error.schema['description']} Remove it."
        yield FileProblem(f"{_prefix(name)}{text}", document.at_key(path))
    else:
        yield FileProblem(f"{_prefix(name)}{_text(error)}", document.at(path))


def named(document: Document, path: Path) -> str:
    """A value's name for people, such as ``office-365, port``; empty for the whole file."""
    if path[:1] != ("sets",) or len(path) < 2:
        return ".".join(map(str, path))
    item = document.content["sets"][path[1]]
    identity = item.get("id") if isinstance(item, dict) else None
    is_name = isinstance(identity, str) and identity and identity.isprintable()
    first = str(identity) if is_name else f"set {int(path[1]) + 1}"
    names = ".".join(part for part in path[2:] if isinstance(part, str))
    items = [f"item {part + 1}" for part in path[2:] if isinstance(part, int)]
    return ", ".join(filter(None, (first, names, *items)))


def _prefix(name: str) -> str:
    return f"{name}: " if name else ""


_WHERE = (
    "write where the secret is read, for example {env: SMTP_PASSWORD} or "
    "{file: /run/secrets/smtp}. The secret itself can't be in this file."
)


def _is_secret(part: Any) -> bool:
    """Whether a part of the schema describes where a secret is read."""
    definition = schema.load()["$defs"]["secret"]
    return bool(part == definition or part in definition["properties"].values())


def _unknown(key: str, known: Any) -> str:
    # “{password:secret}”, without a space, is a name too.
    name = f"“{key}”" if re.fullmatch(r"[A-Za-z_]{1,50}", key) else "This name"
    close = get_close_matches(key, known, 1)
    hint = f" Did you mean “{close[0]}”?" if close else ""
    return f"{name} is not known here.{hint}"


def _text(error: Any) -> str:
    """What is wrong with a value that isn't a secret."""
    value, limit = error.instance, error.validator_value
    texts: dict[str, Callable[[], str]] = {
        "type": lambda: _type_text(value, limit),
        "const": lambda: f"must be {limit}. Another release may read this file.",
        "enum": lambda: f"must be one of: {', '.join(map(str, limit))}.",
        "minimum": lambda: f"must be {limit} or more.",
        "maximum": lambda: f"must be {limit} or less.",
        "maxLength": lambda: f"must have {limit} characters or fewer.",
        "minLength": lambda: "must not be empty.",
        "pattern": lambda: "contains a character that can't be used here, or is too long.",
        "uniqueItems": lambda: "must not contain anything twice.",
    }
    return texts[error.validator]()


def _type_text(value: Any, expected: Any) -> str:
    if value is None:
        return "has no value. Enter one, or remove the line."
    names = [expected] if isinstance(expected, str) else expected
    text = f"must be {' or '.join(_TYPES[name] for name in names)}."
    if "string" in names and isinstance(value, bool | int):
        text += " Put it in quotes."
    return text
