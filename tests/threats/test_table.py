"""Each incident of the documentation has tests, marked with the number of its row."""

import ast
import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/explanation/incidents.md"


def rows() -> dict[int, tuple[str, str]]:
    """The incident and its defence by the row's number."""
    found = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(found) == len({number for number, *_ in found})
    return {int(number): (incident, defence) for number, incident, defence in found}


def marked() -> Counter[int]:
    """How many tests are marked with each number."""
    count: Counter[int] = Counter()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                count.update(number for mark in node.decorator_list for number in _numbers(mark))
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                count.update(_numbers(node.value))
    return count


def _numbers(decorator: ast.expr) -> list[int]:
    if not (
        isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.threat"
    ):
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


def test_each_incident_has_a_test() -> None:
    numbers = list(rows())
    assert numbers == list(range(1, len(numbers) + 1))
    assert sorted(marked()) == numbers


def test_each_defence_is_removed_once() -> None:
    """`make defences` takes each away and expects that a test of the row fails."""
    from tests.threats.without_defences import REMOVALS

    assert sorted({removal.row for removal in REMOVALS}) == list(rows())
