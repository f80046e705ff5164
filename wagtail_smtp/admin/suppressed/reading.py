"""Read the addresses that a person typed or uploaded. Nothing is skipped silently."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from wagtail_smtp import suppression
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.models.log import SHOWN

#: Bytes of a file, and addresses in it.
MAX_SIZE = 2 * 1024 * 1024
MAX_ADDRESSES = 50_000
_DELIMITERS = ",;\t|"
#: Headings of the column with the addresses, in lower case without separators.
_HEADINGS = frozenset({"email", "emailaddress", "mail", "address", "recipient"})
#: What an export puts in front of a cell that a spreadsheet would take for a formula.
_NEUTRAL = re.compile(r"^'(?=[=+\-@])")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Addresses:
    """What was read.

    Attributes:
        valid: the normalised addresses, each once.
        invalid: line numbers and texts of everything that is not an address.
        duplicates: how many more times one of the addresses was found.
    """

    valid: tuple[str, ...]
    invalid: tuple[tuple[int, str], ...] = ()
    duplicates: int = 0


def from_text(text: str) -> Addresses:
    """Read addresses, with or without names, one per line or separated by commas or semicolons."""
    return _collected(
        (number, part)
        for number, line in enumerate(text.splitlines(), 1)
        for part in re.split(r"[,;]", line)
    )


def from_csv(content: bytes) -> Addresses:
    """Read the column with the addresses of a CSV file, or a list with addresses on each line.

    Raises:
        ValidationError: it is not such a file, or it has too many addresses.
    """
    text = _decoded(content)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        problem = _("Line %(line)d can't be read: %(problem)s")
        raise ValidationError(problem % {"line": reader.line_num, "problem": error}) from error
    if not rows:
        raise ValidationError(_("The file is empty."))
    column, has_heading = _column([row for _number, row in rows[:2]])
    cells = [
        (number, cell)
        for number, row in rows[has_heading:]
        for cell in (row if not has_heading and _is_list(row) else row[column : column + 1])
    ]
    if len(cells) > MAX_ADDRESSES:
        raise ValidationError(
            _("The file has more than %d addresses. Split it into several files.") % MAX_ADDRESSES
        )
    return _collected(cells)


def _decoded(content: bytes) -> str:
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    if content.startswith(b"PK") or (encoding != "utf-16" and b"\0" in content):
        raise ValidationError(_("This is not a text file. Save a spreadsheet as CSV first."))
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        # What Excel writes on Windows.
        return content.decode("cp1252", "replace")


def _column(rows: Sequence[Sequence[str]]) -> tuple[int, bool]:
    """The index of the column with addresses, and whether the first row is a heading."""
    first = rows[0]
    for index, cell in enumerate(first):
        if is_email_address(_bare(cell)):
            return index, False
    for index, cell in enumerate(first):
        if re.sub(r"[\W_]", "", cell.lower()) in _HEADINGS:
            return index, True
    for index, cell in enumerate(rows[1] if rows[1:] else ()):
        if is_email_address(_bare(cell)):
            return index, True
    return 0, False


def _is_list(row: Sequence[str]) -> bool:
    """Whether a line contains nothing but addresses."""
    return all(is_email_address(_bare(cell)) for cell in row if cell.strip())


def _collected(found: Iterable[tuple[int, str]]) -> Addresses:
    valid: dict[str, None] = {}
    invalid: list[tuple[int, str]] = []
    duplicates = 0
    for number, text in _cleaned(found):
        bare = _bare(text)
        if not is_email_address(bare):
            invalid.append((number, text[:SHOWN]))
            continue
        address = suppression.normalize(bare)
        duplicates += address in valid
        valid[address] = None
    return Addresses(tuple(valid), tuple(invalid), duplicates)


def _cleaned(found: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, text in found:
        if stripped := text.strip():
            yield number, stripped


def _bare(text: str) -> str:
    """The address in ``Ada <ada@example.com>``, or the whole text."""
    text = _NEUTRAL.sub("", text.strip())
    match = re.fullmatch(r"[^<>]*<([^<>]+)>", text)
    return match[1].strip() if match else text
