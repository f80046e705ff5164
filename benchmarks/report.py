"""Results as values, as a table to read, and as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.measure import Sample


@dataclass(frozen=True)
class Goal:
    """A number that a ratio or a time is to reach."""

    text: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def line(self) -> str:
        """The goal on one line."""
        word = "at least" if self.at_least else "at most"
        said = "met" if self.met else "NOT MET"
        return f"{self.text}: {_short(self.value)}{self.unit}, {word} {self.bound:g}: {said}"


@dataclass(frozen=True)
class Row:
    """One contender: a value in the table's unit, and what else is worth saying."""

    name: str
    value: float
    p99: float | None = None
    p95: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Table:
    """What one question came to.

    Ratios compare each row with ``base`` (how many times better it is) and with ``limit``
    (how many times as long as the best possible it takes). ``more_is_better``: the values
    are rates, not times.
    """

    title: str
    unit: str
    rows: tuple[Row, ...]
    base: str = ""
    limit: str = ""
    more_is_better: bool = False
    note: str = ""
    goals: tuple[Goal, ...] = field(default=())

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Table":
        """The table that :meth:`to_json` wrote."""
        rows = tuple(Row(**row) for row in content["rows"])
        goals = tuple(
            Goal(**{name: value for name, value in goal.items() if name != "met"})
            for goal in content["goals"]
        )
        return cls(**{**content, "rows": rows, "goals": goals})

    def to_json(self) -> dict[str, Any]:
        """Plain values; each goal says whether it is met."""
        goals = [asdict(goal) | {"met": goal.met} for goal in self.goals]
        return asdict(self) | {"goals": goals}

    def with_goals(self, *goals: Goal) -> "Table":
        """The same table with goals."""
        return replace(self, goals=goals)

    def value(self, name: str) -> float:
        """The value of the row with this name."""
        return next(row.value for row in self.rows if row.name == name)

    def times_better(self, name: str, base: str) -> float:
        """How many times better the row is than another one."""
        ours, theirs = self.value(name), self.value(base)
        return ours / theirs if self.more_is_better else theirs / ours

    def text(self) -> str:
        """The table, to be read."""
        width = max(len(row.name) for row in self.rows)
        lines = ["", self.title, "-" * len(self.title)]
        lines += [self._row(row, width) for row in self.rows]
        lines += [f"  ({self.note})"] if self.note else []
        lines += [f"  → {goal.line()}" for goal in self.goals]
        return "\n".join(lines)

    def _row(self, row: Row, width: int) -> str:
        text = f"  {row.name:<{width}}  {_short(row.value):>8} {self.unit}"
        for name, value in (("95 %", row.p95), ("99 %", row.p99), ("max", row.most)):
            if value is not None:
                text += f"   {name}: {_short(value):>7}"
        if self.base and row.name != self.base:
            text += f"   {_short(self.times_better(row.name, self.base)):>6} × {self.base}"
        if self.limit and row.name != self.limit:
            text += f"   {_short(self.times_better(self.limit, row.name)):>6} × the limit"
        return text


def rows(samples: Iterable[Sample], factor: float = 1000) -> tuple[Row, ...]:
    """A row for each sample; ``factor`` turns seconds into the table's unit."""
    return tuple(
        Row(
            sample.name,
            sample.median * factor,
            sample.p99 * factor,
            sample.p95 * factor,
            max(sample.times) * factor,
        )
        for sample in samples
    )


def _short(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
