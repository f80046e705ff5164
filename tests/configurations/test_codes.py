"""Codes and login links of the real packages: ``pip install -e '.[test-codes]'``."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.configurations.wagtail_start import ROOT

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("allauth", "django_otp", "two_factor", "djoser", "dj_rest_auth"))),
    reason="the packages of the extra test-codes are not installed",
)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"CODES_RESET_BY_CODE": "1"},
        {"CODES_ADAPTER": "tests.configurations.codes_project.OwnAdapter"},
    ],
    ids=["links", "codes", "an-adapter-of-the-project"],
)
def test_they_are_security(environment):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.configurations.codes"],
        cwd=ROOT,
        env=os.environ
        | {"DJANGO_SETTINGS_MODULE": "tests.configurations.codes_settings"}
        | {"WAGTAIL_SMTP_TEST_DATABASE": ""}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["gone"] == []
    assert told["warnings"] == []
    assert told["other"] == ["other"]
    assert {name: set(slugs) for name, slugs in told["sent"].items()} == {
        name: {"security"} for name in told["sent"]
    }
