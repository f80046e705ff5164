"""How much memory Python's own allocator has given out in a process.

Unlike the memory that the system counts, it doesn't contain what the C library keeps after a peak,
so a leak of a few bytes for each message shows. Garbage in cycles doesn't count either: Python may
let a quarter of all objects pile up before it looks for it among the older ones. Nor do the source
files of tracebacks, which Python keeps: the first error of a dead database reads 13,000 lines.
"""

import gc
import linecache
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

#: Variable with the folder in which each process writes its number.
FOLDER = "WAGTAIL_SMTP_SOAK_BLOCKS"
_INTERVAL = 10.0


def report() -> None:
    """Write the number of this process now and then, in a thread."""
    if folder := os.environ.get(FOLDER):
        file = Path(folder, str(os.getpid()))
        threading.Thread(target=_write, args=(file,), daemon=True).start()


def report_in_children() -> None:
    """Do the same in processes that this one forks; it has no other thread itself meanwhile."""
    os.register_at_fork(after_in_child=report)


def read(folder: Path, pid: int) -> float:
    """The last number of a process, in thousands; 0 if it hasn't written any."""
    with suppress(FileNotFoundError, ValueError):
        return int((folder / str(pid)).read_text()) / 1000
    return 0


def _write(file: Path) -> None:
    while True:
        part = file.with_suffix(".part")
        gc.collect()
        part.write_text(str(sys.getallocatedblocks() - _lines_of_tracebacks()))
        part.replace(file)
        time.sleep(_INTERVAL)


def _lines_of_tracebacks() -> int:
    """How many blocks hold lines of source files; Python has one for all empty lines."""
    files = [entry[2] for entry in list(linecache.cache.values()) if len(entry) > 1]
    return sum(len(line) > 1 for lines in files for line in lines)
