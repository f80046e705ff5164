"""A database router as projects have them."""


class LegacyElsewhere:
    """Another app's tables are in a second database; the plugin's in the first."""

    def db_for_read(self, model, **hints):
        return "legacy" if model._meta.app_label == "legacy" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "legacy") == (app_label == "legacy")
