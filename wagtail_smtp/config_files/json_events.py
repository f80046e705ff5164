"""Read JSON with the line and column of each value, which the standard library doesn't give."""

import json
import re
from collections.abc import Iterator

from wagtail_smtp.config_files.document import Event, FileProblem, Place

#: A token of JSON that is known to be valid: text, a bracket, or a number or word.
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|([{}\[\]])|([^\s{}\[\],:"]+)|\n')
_WORDS = {"true": True, "false": False, "null": None}
_WHOLE = re.compile(r"-?\d{1,18}\Z")
_OPENING = {"{": "dictionary", "[": "list"}


def fault(text: str) -> FileProblem | None:
    """Return why ``text`` is not JSON; None if it is."""
    try:
        # As text, because converting a number with thousands of digits is an error.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        return FileProblem(f"This is not JSON: {error.msg}.", Place(error.lineno, error.colno))
    except RecursionError:
        return FileProblem("This is nested too deeply.")
    return None


def events(text: str) -> Iterator[Event]:
    """Yield the parts of a JSON text that has no :func:`fault`."""
    line, line_start = 1, 0
    for token in _TOKEN.finditer(text):
        quoted, bracket, word = token.groups()
        place = Place(line, token.start() - line_start + 1)
        if quoted is not None:
            value = json.loads(quoted)
            yield Event("value", place, value, text=value)
        elif bracket is not None:
            yield Event(_OPENING.get(bracket, "end"), place)  # type: ignore[arg-type]
        elif word is not None:
            yield _word(word, place)
        else:
            line, line_start = line + 1, token.end()


def _word(word: str, place: Place) -> Event:
    if word in _WORDS:
        return Event("value", place, _WORDS[word], text=word)
    if _WHOLE.match(word):
        return Event("value", place, int(word), text=word)
    problem = "This is not a whole number. If you mean text, put it in quotes."
    return Event("value", place, text=word, problem=problem)
