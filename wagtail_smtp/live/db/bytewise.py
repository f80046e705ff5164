"""Comparing what says who somebody is: byte by byte, whatever the database's collation is.

MySQL's collations take ``müller@example.org`` for ``muller@example.org``, and one with a trailing
blank for the one without. Those are different people.
"""

from typing import Any

from django.db.models import F
from django.db.models.lookups import Exact


class _Same(Exact):
    def as_mysql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, left_values = self.process_lhs(compiler, connection)
        right, right_values = self.process_rhs(compiler, connection)
        values = (*left_values, *right_values)
        # By the index first, which follows the collation.
        return f"({left} = {right} AND CAST({left} AS BINARY) = {right})", values * 2


def same(field: str, value: str) -> Any:
    """A condition for ``filter()``: a text field is exactly ``value``."""
    return _Same(F(field), value)
