"""Tasks that nothing runs."""

from collections import deque
from typing import Any

try:
    from django.tasks.backends.dummy import DummyBackend
except ImportError:  # before Django 6.0
    from django_tasks.backends.dummy import DummyBackend


class Nowhere(DummyBackend):  # type: ignore[misc]  # Any before Django 6.0
    """Django's dummy backend, which keeps every task, without what it keeps."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.results: deque[Any] = deque(maxlen=1)
