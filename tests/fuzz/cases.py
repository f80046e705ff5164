"""How many cases each target gets, and the account of them.

Hypothesis makes the cases in lists, which costs a fraction of making them one by one. A short run
is part of the tests, always with the same cases; ``make fuzz`` makes a million random ones.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

T = TypeVar("T")

#: All cases of a long run; 0: a short one.
CASES = int(os.environ.get("WAGTAIL_SMTP_FUZZ_CASES", "0"))
#: Cases of a target with the share 1 in a short run.
_SHORT = 500
#: The shares of all targets together are at least this much.
SHARES = 15
given_shares: list[float] = []
#: Cases in a list.
_BATCH = 25


@dataclass
class Tally:
    """What a target was given."""

    cases: int = 0
    began: float = 0
    ended: float = 0


TALLIES: dict[str, Tally] = {}


def budget(share: float = 1) -> Callable[[T], T]:
    """Give a test its share of the cases; slow targets have a smaller one."""
    given_shares.append(share)
    number = (CASES / SHARES if CASES else _SHORT) * share
    return settings(
        max_examples=max(2, round(number / _BATCH)),
        derandomize=not CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def several(case: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    """A list of cases, for one call of a test."""
    return st.lists(case, min_size=_BATCH, max_size=_BATCH)


def each(target: str, cases: Iterable[T]) -> Iterator[T]:
    """Yield the cases, and count them for the target."""
    tally = TALLIES.setdefault(target, Tally(began=time.perf_counter()))
    for case in cases:
        yield case
        tally.cases += 1
    tally.ended = time.perf_counter()


#: Text in which the characters are dangerous somewhere.
_PIECES = (
    *("\r\n", "\n", "\r", "\r\nBcc: victim@example.org\r\n", "\n ", "\0", "\x1b[2J", "\x85", "\t"),
    *("@", ",", ";", ":", "<", ">", '"', "'", "\\", "(", ")", "[", "]", "{", "}", "%0d%0a", "."),
    *("=?utf-8?q?a=0d=0aBcc:x?=", "=?utf-8?b?DQpCY2M6IHg=?=", "=?x?q?a?=", "xn--", "..", "-"),
    *(
        "ä",
        "ß",
        "İ",
        "ﬀ",
        "日本",
        "😀",
        "\u202e",
        "\u2028",
        "\ufeff",
        "\u200d",
        "\ud800",
        "e\u0301",
    ),
    *("=1+1", "+", "-1", "@SUM(1)", "|", "＝x", "\u00a0", "a" * 70, "a" * 300, "0", "-0", "1e999"),
    *("Ann", "example.org", "user", "<script>", "{{ 7 }}", "%s", "None", "nan", "../", "//", " "),
)


def texts(*more: str, most: int = 6) -> st.SearchStrategy[str]:
    """Any text, and text put together from dangerous parts."""
    parts = st.sampled_from((*_PIECES, *more))
    return st.one_of(st.text(max_size=40), st.lists(parts, max_size=most).map("".join))


def addresses() -> st.SearchStrategy[str]:
    """Addresses, most of them nearly valid."""
    local = st.sampled_from(("user", "a.b", '"a b"', "a+b", "ä", "", "a..b", "a\r\nb", "=?u?q?a?="))
    domain = st.sampled_from(
        ("example.org", "bücher.example", "faß.de", "[127.0.0.1]", "a..b", "", "x_y.example", "ßß")
    )
    usual = st.builds("{}@{}".format, local, domain)
    named = st.builds("{} <{}>".format, texts(most=2), usual)
    return st.one_of(usual, usual, named, texts())


def mutated(value: Any, junk: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON like ``value``, of which something was replaced, added or left out."""
    paths = list(_paths(value))
    change = st.tuples(st.sampled_from(paths), st.sampled_from(("put", "add", "drop")), junk)
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _changed(value, changes))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _changed(value: Any, changes: list[tuple[tuple[Any, ...], str, Any]]) -> Any:
    for path, kind, junk in changes:
        value = _change(value, path, kind, junk)
    return value


def _change(value: Any, path: tuple[Any, ...], kind: str, junk: Any) -> Any:
    if not path:
        return value if kind == "drop" else junk
    key, *rest = path
    if isinstance(value, dict) and key in value:
        copy: Any = dict(value)
    elif isinstance(value, list) and isinstance(key, int) and key < len(value):
        copy = list(value)
    else:
        return value  # changed before
    if rest:
        copy[key] = _change(copy[key], tuple(rest), kind, junk)
    elif kind == "drop":
        del copy[key]
    elif kind == "add" and isinstance(copy, dict):
        copy[f"{key} {junk}"[:50]] = junk
    else:
        copy[key] = junk
    return copy


def junk() -> st.SearchStrategy[Any]:
    """Any JSON value, most of them of the wrong type."""
    simple = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts(most=3))
    return st.one_of(simple, st.lists(simple, max_size=2), st.dictionaries(texts(most=1), simple))
