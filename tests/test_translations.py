"""Every text of the plugin has its translation, and what is compiled is what was translated.

``make messages LANGUAGE=de`` collects the texts and compiles them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wagtail_smtp

PACKAGE = Path(wagtail_smtp.__file__).parent
LANGUAGES = sorted(path.name for path in (PACKAGE / "locale").iterdir())
CATALOG = "LC_MESSAGES/django"


@pytest.fixture(autouse=True)
def _gettext() -> None:
    if shutil.which("xgettext") is None:
        reason = "no GNU gettext on this machine (Debian: apt-get install gettext)"
        if os.environ.get("WAGTAIL_SMTP_REQUIRE_GETTEXT"):
            pytest.fail(reason)
        pytest.skip(reason)


def run(*command: str, cwd: Path | None = None) -> str:
    # As in a package's own folder, where there is no project.
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_german_is_there() -> None:
    assert "de" in LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_untranslated(language: str, tmp_path: Path) -> None:
    """Collected anew, the catalogue has no text without a translation, and none too many."""
    shutil.copytree(PACKAGE, tmp_path, dirs_exist_ok=True)
    run(
        sys.executable, "-m", "django", "makemessages", "--locale", language, "--no-obsolete",
        "--add-location", "file", cwd=tmp_path,
    )  # fmt: skip
    catalog = str(tmp_path / "locale" / language / f"{CATALOG}.po")
    for kind in ("untranslated", "only-fuzzy"):
        left = run("msgattrib", f"--{kind}", "--no-wrap", catalog)
        texts = [line for line in left.splitlines() if line.startswith("msgid ")]
        assert [text for text in texts if text != 'msgid ""'] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_up_to_date(language: str, tmp_path: Path) -> None:
    catalog = PACKAGE / "locale" / language / f"{CATALOG}.po"
    # It checks the placeholders as well.
    run("msgfmt", "--check-format", "-o", str(tmp_path / "new.mo"), str(catalog))
    compiled = (
        run("msgunfmt", str(path)) for path in (tmp_path / "new.mo", catalog.with_suffix(".mo"))
    )
    assert len(set(compiled)) == 1
