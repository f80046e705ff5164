"""Presets are valid as they stand, but for what only their users know."""

import pytest

from wagtail_smtp.config import validation
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.transports.guard import MAIL_PORTS
from wagtail_smtp.transports.smtp.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.slug)
def test_each_is_valid(preset):
    values = preset.fields() | {"port": preset.port}
    item = SettingsSetConfig("key", "name", **values)
    assert {problem.field for problem in validation.problems(item)} <= {"username"}
    assert preset.port in MAIL_PORTS or preset.slug == "proton-bridge"
    assert preset.hint


def test_slugs_and_labels_are_unique():
    assert len({preset.slug for preset in PRESETS}) == len(PRESETS) == 18
    assert len({str(preset.label) for preset in PRESETS}) == len(PRESETS)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.slug)
def test_port_and_encryption_belong_together(preset):
    assert {465: "ssl", 587: "starttls", 1025: "starttls", 25: "none"}[preset.port] == (
        preset.encryption
    )
