"""Django's own tests of email backends, run against the plugin's.

They come from the source distribution of the installed Django, fetched once and kept in
``.cache``. They run on the database of tests/settings.py. Where the source can't be fetched the
test is skipped, unless the environment variable WAGTAIL_SMTP_REQUIRE_DJANGO_SUITES is set.
"""

import email.errors
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import django
import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSION = django.get_version()
CACHE = ROOT / ".cache" / "django-tests" / VERSION


def _fetch() -> Path:
    """The folder ``tests`` of Django's source distribution."""
    folder = CACHE / "tests"
    if not (folder / "mail" / "tests.py").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        # Only Django from source; what builds its metadata may be a wheel.
        download += ["--no-binary", "django", "--dest", str(CACHE), f"django=={VERSION}"]
        done = subprocess.run(download, capture_output=True, text=True, timeout=300)
        if done.returncode:
            _unavailable(f"Django's source distribution can't be fetched: {done.stderr[-500:]}")
        [archive] = CACHE.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            members = [m for m in tar if re.match(r"[^/]+/tests/mail/", m.name)]
            for member in members:
                member.name = member.name.partition("/")[2]
            tar.extractall(CACHE, members, filter="data")
    return folder


def _unavailable(why: str) -> None:
    if os.environ.get("WAGTAIL_SMTP_REQUIRE_DJANGO_SUITES"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.mark.skipif(
    django.VERSION >= (6, 1) and not hasattr(email.errors, "HeaderWriteError"),
    reason="Django 6.1's own tests import what came with Python 3.12.4",
)
@pytest.mark.django_db  # so that it runs on database servers too
def test_djangos_suites_pass():
    run = [sys.executable, "-W", "error", "-m", "tests.support.django_suites", str(_fetch())]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    # All of them, not an empty selection.
    assert int(re.search(r"Ran (\d+) tests", done.stderr)[1]) >= 11
    assert "skipped" not in done.stderr
    # Their messages are octet by octet what Django's own backend would send.
    assert int(re.search(r"written alike: (\d+), not alike: 0", done.stdout)[1]) >= 25
