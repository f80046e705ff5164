"""A settings file that was read and checked, without the database."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from wagtail_smtp.config import validation as config_validation
from wagtail_smtp.config.values import Method, SiteSender
from wagtail_smtp.config_files import reader, validation
from wagtail_smtp.config_files.document import Document, FileProblem, FileRefused, Place
from wagtail_smtp.config_files.fields import FileSet, field_path, from_file
from wagtail_smtp.transports.esp import catalog


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file. ``method`` is None if it leaves the delivery method as it is."""

    document: Document
    method: Method | None
    sets: tuple[FileSet, ...]

    def problem(self, item: FileSet, field: str, message: object) -> FileProblem:
        """A problem of a set, at its field or else at the set."""
        path = (*item.path, *field_path(item.config, field)) if field else item.path
        name = validation.named(self.document, path)
        return FileProblem(f"{name}: {message}", self.document.at(path))


def load(path: str | os.PathLike[str]) -> SettingsFile:
    """Read and check a file.

    Raises:
        FileRefused: it can't be read, or something in it is wrong. It names all problems, except
            those that only the database can show.
    """
    document = reader.read(path)
    if found := list(validation.problems(document)):
        raise FileRefused(document.name, found)
    sets = document.content["sets"]
    file = SettingsFile(
        document,
        document.content.get("delivery"),
        tuple(from_file(values, ("sets", number)) for number, values in enumerate(sets)),
    )
    if found := [*_duplicates(file), *_problems(file)]:
        raise FileRefused(document.name, found)
    return file


def _duplicates(file: SettingsFile) -> Iterator[FileProblem]:
    of_set: dict[str, Callable[[FileSet], str]] = {
        "id": lambda item: item.slug,
        "name": lambda item: item.config.name,
    }
    for field, value in of_set.items():
        first: dict[str, Place] = {}
        for item in file.sets:
            place = file.document.at((*item.path, field))
            # The names of sets must differ in more than case, and so must IDs on some databases.
            other = first.setdefault(value(item).casefold(), place)
            if other != place:
                text = f"Another set has this {field} already, in line {other.line}."
                yield file.problem(item, field, text)


def _problems(file: SettingsFile) -> Iterator[FileProblem]:
    for item in file.sets:
        # The form refuses an empty name before it looks at anything else.
        if not item.config.name:
            yield file.problem(item, "name", "Enter a name.")
        senders = tuple(sender for _site, sender in _with_keys(item))
        config = replace(item.config, key=item.slug, site_senders=senders)
        for problem in (*config_validation.problems(config), *catalog.problems(config)):
            yield file.problem(item, problem.field, problem.message)
        for name, reference in item.references.items():
            if refusal := reference.refusal():
                yield file.problem(item, _form_field(item, name), refusal)


def _with_keys(item: FileSet) -> Iterator[tuple[str, SiteSender]]:
    """The senders of sites; the same site has the same key, which isn't the database's."""
    numbers: dict[str, int] = {}
    for site, sender in item.site_senders:
        number = numbers.setdefault(site.casefold(), len(numbers) + 1)
        yield site, replace(sender, site=number)


def _form_field(item: FileSet, secret: str) -> str:
    """The name of a secret as a field of the form."""
    if item.config.uses_esp:
        return catalog.field_name(item.config.transport, secret)
    return secret if secret == "password" else f"oauth_{secret}"  # noqa: S105
