"""The project's settings file: its sets are managed, and differences are reported."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command

from wagtail_smtp import checks
from wagtail_smtp.config_files import sets_file
from wagtail_smtp.config_files.drift import drift
from wagtail_smtp.models import SettingsSet

ROOT = Path(__file__).resolve().parents[2]
SPARE = {"id": "spare", "name": "Spare", "host": "spare.example.com", "authentication": "none"}
OTHER = SPARE | {"id": "other", "name": "Other"}


@pytest.fixture
def project(settings, configure, tmp_path: Path) -> Path:
    """A project with a settings file; the path of the file."""
    settings.BASE_DIR = tmp_path
    path = tmp_path / "conf" / "email.json"
    configure(SETS_FILE=path)
    path.parent.mkdir()
    return path


def write(path: Path, *sets: dict[str, Any]) -> None:
    path.write_text(json.dumps({"version": 1, "sets": sets}))


def run(*args: object) -> str:
    out = StringIO()
    call_command("smtp_import", *map(str, args), "--yes", stdout=out, no_color=True)
    return out.getvalue()


def managers() -> dict[str, str]:
    return dict(SettingsSet.objects.values_list("slug", "managed_by"))


def test_its_name(settings, configure, tmp_path: Path) -> None:
    assert sets_file.path() is None
    assert sets_file.source() == ""
    settings.BASE_DIR = str(tmp_path)
    configure(SETS_FILE="conf/email.yaml")
    assert sets_file.path() == tmp_path / "conf" / "email.yaml"
    assert sets_file.source() == "conf/email.yaml"
    configure(SETS_FILE="/etc/site/email.yaml")
    assert sets_file.source() == "email.yaml"
    del settings.BASE_DIR
    configure(SETS_FILE=tmp_path / "email.yaml")
    assert sets_file.source() == "email.yaml"


def test_its_sets_are_managed(db: None, project: Path) -> None:
    write(project, SPARE)
    out = run()
    assert managers() == {"spare": "conf/email.json"}
    assert "Managed by: – → conf/email.json" in out
    assert "Nothing to import." in run()
    # Under another path it is the same file.
    assert "Nothing to import." in run(project.parent / ".." / "conf" / "email.json")


def test_a_set_that_left_the_file_is_managed_in_the_admin_again(make_set, project) -> None:
    make_set(name="Own", slug="own")
    write(project, SPARE, OTHER)
    run()
    assert managers() == {"spare": "conf/email.json", "other": "conf/email.json", "own": ""}
    write(project, OTHER)
    out = run()
    assert "Managed by: conf/email.json → –" in out
    assert managers() == {"other": "conf/email.json", "spare": "", "own": ""}


def test_prune_deletes_every_set_that_is_not_in_the_file(make_set, project) -> None:
    make_set(name="Own", slug="own")
    write(project, SPARE, OTHER)
    run()
    write(project, OTHER)
    run("--prune")
    assert managers() == {"other": "conf/email.json"}


def test_another_file_leaves_managed_sets_alone(make_set, project, tmp_path) -> None:
    make_set(name="Own", slug="own")
    write(project, SPARE)
    run()
    another = tmp_path / "another.json"
    write(another, SPARE | {"timeout": 5})
    with pytest.raises(CommandError, match=r"spare: conf/email.json manages this set."):
        run(another)
    write(another, OTHER)
    run(another, "--prune")
    assert managers() == {"other": "", "spare": "conf/email.json"}


def test_drift(db: None, project: Path) -> None:
    found = drift()
    assert found is not None
    assert "No such file" in found.problem
    write(project, SPARE)
    run()
    assert drift() == type(found)("conf/email.json")
    SettingsSet.objects.update(timeout=5)
    [change] = drift().changes
    assert str(change) == "Spare: Changed (Timeout: 5 → 10)"


def test_no_drift_without_a_file(db: None) -> None:
    assert drift() is None


def found(check: Any, **kwargs: Any) -> list[tuple[str | None, str]]:
    return [(message.id, message.msg) for message in check(app_configs=None, **kwargs)]


def test_checks(db: None, project: Path) -> None:
    [(name, text)] = found(checks.check_sets_file)
    assert name == "wagtail_smtp.W019"
    assert "No such file" in text
    write(project, SPARE | {"port": 0})
    [(name, text)] = found(checks.check_sets_file)
    assert f"{project}:1:" in text
    write(project, SPARE)
    assert found(checks.check_sets_file) == []
    assert found(checks.check_drift) == []
    [(name, text)] = found(checks.check_drift, databases=["default"])
    assert name == "wagtail_smtp.W020"
    assert "Spare: Added" in text
    run()
    assert found(checks.check_drift, databases=["default"]) == []


def test_checks_are_only_for_deploying(db: None, project: Path) -> None:
    ids = {message.id for message in run_checks()}
    assert not ids & {"wagtail_smtp.W019", "wagtail_smtp.W020"}
    deploying = {message.id for message in run_checks(include_deployment_checks=True)}
    assert "wagtail_smtp.W019" in deploying


PROGRAM = """
import sys
sys.modules["yaml"] = sys.modules["jsonschema"] = None
import django
django.setup()
from wagtail_smtp import checks
from wagtail_smtp.config_files import apply, drift, export, file
for message in checks.check_sets_file():
    print(message.id, message.msg)
"""


def test_nothing_needs_the_packages_at_start(tmp_path: Path) -> None:
    path = tmp_path / "settings.py"
    path.write_text(
        "from tests.settings import *\n"
        f"WAGTAIL_SMTP = {{**WAGTAIL_SMTP, 'SETS_FILE': {str(tmp_path / 'email.yaml')!r}}}\n"
    )
    write(tmp_path / "email.yaml", SPARE)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wagtail_smtp.W019 ")
    assert 'pip install "wagtail-smtp[files]"' in done.stdout


def status(*args: str) -> str:
    out = StringIO()
    call_command("smtp_status", *args, stdout=out, no_color=True)
    return out.getvalue()


def test_status_shows_the_differences(db: None, project: Path) -> None:
    assert "The settings file can't be imported:" in status()
    write(project, SPARE)
    assert "Differs from conf/email.json: Spare: Added" in status()
    assert json.loads(status("--json"))["drift"]["changes"] == ["Spare: Added"]
    run()
    assert "conf/email.json" not in status()
