#!/bin/sh
# Print a Python that can run this project: new enough, and with all that it needs.
# Usage: find-python.sh [MINOR]   The lowest minor version: 11 if it's not given.
# PYTHON= overrides the search. The candidates are run, since a name alone says nothing.
minor=${1:-11}
need="import sys, venv, ensurepip, ssl, sqlite3; sys.exit(sys.version_info < (3, $minor))"
pyenv=$(ls -rd "$HOME"/.pyenv/versions/3.*/bin/python 2>/dev/null)

for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 $pyenv}; do
    if "$candidate" -c "$need" >/dev/null 2>&1; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
if [ -n "$PYTHON" ]; then
    echo "PYTHON=$PYTHON doesn't run, is older than 3.$minor, or lacks venv, ensurepip, ssl or sqlite3." >&2
else
    echo "No Python 3.$minor or newer with venv, ensurepip, ssl and sqlite3 was found." >&2
fi
echo "On Debian and Ubuntu: apt-get install python3 python3-venv. Elsewhere: python.org/downloads" >&2
exit 1
