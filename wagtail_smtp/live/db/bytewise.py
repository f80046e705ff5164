"""Compare identifiers such as email addresses byte by byte, whatever the database's collation.

In MySQL's collations, ``müller@example.org`` equals ``muller@example.org``, and trailing spaces may
be ignored. These can be different people.
"""

from typing import Any

from django.db.models import F
from django.db.models.lookups import Exact


class _Same(Exact):
    def as_mysql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, left_values = self.process_lhs(compiler, connection)
        right, right_values = self.process_rhs(compiler, connection)
        values = (*left_values, *right_values)
        # The first comparison can use the index, which follows the collation.
        return f"({left} = {right} AND CAST({left} AS BINARY) = {right})", values * 2


def same(field: str, value: str) -> Any:
    """Return a ``filter()`` condition: the text field is exactly ``value``."""
    return _Same(F(field), value)
