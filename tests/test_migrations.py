"""The migrations fit the models, and every supported Wagtail."""

from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader


def test_no_migration_is_missing(db):
    call_command("makemigrations", "wagtail_smtp", check=True, dry_run=True, verbosity=0)


def test_no_migration_depends_on_a_wagtail_newer_than_the_oldest_supported():
    """7.4's newest migration of wagtailcore is 0097; what a newer one generates names more."""
    ours = [
        migration
        for (app, _name), migration in MigrationLoader(None).disk_migrations.items()
        if app == "wagtail_smtp"
    ]
    assert ours
    for migration in ours:
        for app, name in migration.dependencies:
            if app == "wagtailcore":
                assert name[:4] <= "0097"
