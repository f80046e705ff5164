"""How the saved sets differ from the project's settings file."""

from dataclasses import dataclass

from wagtail_smtp.config_files import sets_file
from wagtail_smtp.config_files.document import FileRefused
from wagtail_smtp.config_files.file import load
from wagtail_smtp.config_files.plan import plan
from wagtail_smtp.live.diff import SetChange


@dataclass(frozen=True, slots=True)
class Drift:
    """The state of the project's settings file.

    Attributes:
        source: its name.
        problem: why it can't be used; empty if it can.
        changes: what an import would change.
    """

    source: str
    problem: str = ""
    changes: tuple[SetChange, ...] = ()


def drift() -> Drift | None:
    """Compare the saved sets with the project's settings file; None if there is none."""
    file, source = sets_file.path(), sets_file.source()
    if file is None:
        return None
    try:
        return Drift(source, changes=plan(load(file), source=source).changes)
    except FileRefused as error:
        return Drift(source, str(error))
