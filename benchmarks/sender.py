"""A process that sends without pause; see tests/processes/programs/sender.py for what it prints."""

import sys

import django

from tests.processes.programs.sender import each, run

if __name__ == "__main__":
    django.setup()
    run(sys.argv[1], each)
