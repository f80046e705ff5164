"""The account of the cases itself."""

from importlib import import_module
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import cases


def test_all_targets_together_get_all_cases() -> None:
    """Else `make fuzz` would make fewer than it says."""
    for file in Path(__file__).parent.glob("test_*.py"):
        import_module(f"tests.fuzz.{file.stem}")
    assert sum(cases.given_shares) >= cases.SHARES


def test_each_case_is_counted() -> None:
    assert list(cases.each("a test's own", "abc")) == ["a", "b", "c"]
    assert cases.TALLIES.pop("a test's own").cases == 3


ORIGINAL = {"a": [1, {"b": 2}], "c": "d"}


@cases.budget(0.1)
@given(cases.mutated(ORIGINAL, st.just("junk")))
def test_changes_leave_the_original_alone(changed: object) -> None:
    assert ORIGINAL == {"a": [1, {"b": 2}], "c": "d"}
    assert changed == ORIGINAL or "junk" in repr(changed) or len(repr(changed)) < 40
