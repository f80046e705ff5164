"""The sets and the method as they stand, in the shape of a configuration."""

from collections import defaultdict

from wagtail_smtp import configuration
from wagtail_smtp.configuration import Configuration
from wagtail_smtp.live import database
from wagtail_smtp.models import ConfigurationVersion, DeliverySettings, ReportEmail, SettingsSet


def draft_configuration() -> Configuration:
    """What a reload would make live: the method and the enabled sets in order."""
    alias = database.write_alias()
    reports: defaultdict[int, list[ReportEmail]] = defaultdict(list)
    for report in ReportEmail.objects.using(alias).order_by("sort_order", "pk"):
        reports[report.settings_set_id].append(report)
    sets = SettingsSet.objects.using(alias).filter(enabled=True).order_by("sort_order", "pk")
    method = DeliverySettings.objects.using(alias).filter(pk=1).values_list("method").first()
    return Configuration(
        method[0] if method else "custom",
        tuple(item.frozen(reports[item.pk]) for item in sets),
    )


def live_version() -> ConfigurationVersion | None:
    """The newest version, or None if nothing was ever made live."""
    return ConfigurationVersion.objects.using(database.write_alias()).first()


def version_configuration(version: ConfigurationVersion | None) -> Configuration:
    """What a version holds; None stands for the empty configuration.

    Raises:
        ValueError: it was written in a format this code doesn't know.
    """
    if version is None:
        return Configuration()
    if version.format > configuration.FORMAT:
        raise ValueError(f"version {version.number} has the unknown format {version.format}")
    return configuration.from_json(version.content)
