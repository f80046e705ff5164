"""Read a subset of YAML without its surprises.

Programs disagree about unquoted text: ``no`` may be text or false, ``0o10`` text or 8, and ``1e3``
text or 1000. All of it has to be quoted here. Anchors, aliases, tags and a second document are
refused.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from wagtail_smtp.config_files.document import Event, FileProblem, Place

_WORDS = {"true": True, "false": False, "": None, "null": None, "~": None}
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})\Z", re.ASCII)
#: Truth values of YAML 1.1 that PyYAML doesn't know, and numbers of YAML 1.2.
_OTHERS = re.compile(
    r"[yYnN]|[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    r"|true|True|TRUE|false|False|FALSE|null|Null|NULL|~",
    re.ASCII,
)
_AMBIGUOUS = (
    "Programs read this differently: as text, or as a truth value, number or date. If you mean "
    "text, put it in quotes."
)
#: Refused syntax, by attribute of an event. A message never repeats what was written, which may be
#: a password.
_REFUSED = {
    "anchor": "Anchors (&) and aliases (*) can't be used here. Text that begins so needs quotes.",
    "tag": "Tags (!) can't be used here. Text that begins with ! needs quotes.",
}


class YAMLFault(Exception):
    """The rest of the text can't be read."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.problem = FileProblem(message, place)


def events(text: str) -> Iterator[Event]:
    """Yield the parts of a YAML text.

    Raises:
        YAMLFault: it is not YAML, or uses what is refused.
    """
    documents = 0
    loader: Any = None
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_event():
            event = loader.get_event()
            place = _place(event.start_mark)
            for attribute, message in _REFUSED.items():
                if getattr(event, attribute, None) is not None:
                    raise YAMLFault(message, place)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents == 2:
                    raise YAMLFault("A file can contain only one document.", place)
            elif (part := _part(event, place)) is not None:
                yield part
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(mark) if mark else Place(1, 1)
        raise YAMLFault(f"This is not YAML: {error.problem}.", place) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(before.count("\n") + 1, error.position - before.rfind("\n"))
        raise YAMLFault("This is not YAML: it contains a control character.", place) from None
    except (ValueError, OverflowError):
        # PyYAML converts a character that doesn't exist, or a version with thousands of digits.
        text = "This is not YAML: an escape or number here can't be read."
        raise YAMLFault(text, _place(loader.get_mark())) from None


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _part(event: Any, place: Place) -> Event | None:
    if isinstance(event, yaml.MappingStartEvent):
        return Event("dictionary", place)
    if isinstance(event, yaml.SequenceStartEvent):
        return Event("list", place)
    if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
        return Event("end", place)
    if not isinstance(event, yaml.ScalarEvent):
        return None
    text = event.value
    if event.style is not None:  # quoted, or a block
        return Event("value", place, text, text)
    value, problem = plain(text)
    return Event("value", place, value, text, problem)


def plain(text: str) -> tuple[Any, str]:
    """Return the value of unquoted text, and why it can't be used; empty if it can."""
    if text in _WORDS:
        return _WORDS[text], ""
    if _WHOLE.match(text):
        return int(text), ""
    return (None, _AMBIGUOUS) if _is_ambiguous(text) else (text, "")


def _is_ambiguous(text: str) -> bool:
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], ())
    return any(pattern.match(text) for _tag, pattern in resolvers) or bool(_OTHERS.fullmatch(text))
