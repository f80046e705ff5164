"""A process that measures one question and prints a line of JSON for each table."""

import importlib
import json
import sys

import django

from benchmarks.services import Around


def main() -> None:
    """Measure the question named on the command line, with a database of its own."""
    django.setup()
    from tests.processes.programs.console import migrate

    migrate()
    question = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    for table in question.measure(Around.from_environment()):
        print(json.dumps(table.to_json()), flush=True)


if __name__ == "__main__":
    main()
