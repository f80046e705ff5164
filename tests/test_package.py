"""What is published: a source distribution with everything, and a wheel with the package."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path
from shutil import copy2

import pytest

import wagtail_smtp

ROOT = Path(__file__).resolve().parents[1]
NAME = f"wagtail_smtp-{wagtail_smtp.__version__}"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def repository_files() -> list[str]:
    """The names of the repository's files, those that are not committed yet included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a clone of the repository")
    return sorted(name for name in done.stdout.split("\0") if (ROOT / name).is_file())


def run(*command: str, folder: Path) -> str:
    """What a module of this Python's prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution and the wheel that was built from it."""
    source = tmp_path_factory.mktemp("source")
    for name in repository_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy2(ROOT / name, source / name)
    run("build", "--no-isolation", folder=source)
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl")


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return message_from_string(wheel.read(f"{NAME}.dist-info/METADATA").decode())


def test_checks_of_the_tools(built: Path) -> None:
    files = sorted(map(str, built.iterdir()))
    assert len(files) == 2
    assert run("twine", "check", "--strict", *files, folder=built).count("PASSED") == 2
    assert "OK" in run("check_wheel_contents", files[0], folder=ROOT)


def test_the_source_distribution_has_every_file_of_the_repository(built: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {name for name in names if name == "PKG-INFO" or ".egg-info/" in name}
    assert names - made == set(repository_files())


def test_the_wheel_has_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    there = {name for name in repository_files() if name.startswith("wagtail_smtp/")}
    assert names == there
    assert {
        "wagtail_smtp/py.typed",
        "wagtail_smtp/locale/de/LC_MESSAGES/django.mo",
        "wagtail_smtp/config_files/schemas/settings-file-1.json",
    } <= names


def test_metadata(metadata: Message) -> None:
    assert metadata["Author"] == "The wagtail-smtp contributors"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL"))
    assert urls == PROJECT["urls"]
    assert {"Documentation", "Repository", "Changelog", "Issues"} <= set(urls)
