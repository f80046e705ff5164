"""An ``ANYMAIL`` setting that shows which options django-anymail looks for in it."""

from typing import Any


class ReadSettings(dict[str, Any]):
    """Empty; ``keys_read`` are the keys that were looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys_read.add(key)
        return super().__getitem__(key)
