"""manage.py smtp_import [FILE]: make the saved settings those of a file."""

import sys
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp.config_files import apply, sets_file
from wagtail_smtp.config_files.apply import Options
from wagtail_smtp.config_files.document import FileRefused
from wagtail_smtp.config_files.file import SettingsFile, load
from wagtail_smtp.config_files.plan import Plan, plan
from wagtail_smtp.exceptions import ReloadOutdated
from wagtail_smtp.live.diff import SetChange
from wagtail_smtp.live.publish import Preview
from wagtail_smtp.management import EmailCommand


class Command(EmailCommand):
    """Import a settings file, after a comparison and a confirmation."""

    help = (
        "Make the saved settings those of a file in YAML or JSON: show what changes, ask for "
        "confirmation, and apply everything or nothing. Sets that are not in the file stay as they "
        "are, after those of the file."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", nargs="?", help="Default: WAGTAIL_SMTP['SETS_FILE'], whose sets are managed."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Show what would change without changing it."
        )
        parser.add_argument(
            "--reload",
            action="store_true",
            help="Also make the result live. If that is refused, nothing is imported.",
        )
        parser.add_argument(
            "--prune", action="store_true", help="Delete the sets that are not in the file."
        )
        parser.add_argument("--yes", action="store_true", help="Don't ask for confirmation.")
        parser.add_argument(
            "--end-redirect",
            action="store_true",
            help="With --reload: confirm that email which is redirected now may reach real people "
            "again.",
        )

    def handle(self, *args: Any, file: str | None, **options: Any) -> None:
        path = file or sets_file.path()
        if path is None:
            raise CommandError("Name a file, or set WAGTAIL_SMTP['SETS_FILE'].")
        chosen = Options(
            source=sets_file.source() if sets_file.is_project_file(path) else "",
            prune=options["prune"],
            reload=options["reload"],
            end_redirect=options["end_redirect"],
        )
        try:
            self._import_at_most_twice(load(path), chosen, options["dry_run"], options["yes"])
        except FileRefused as error:
            raise CommandError(str(error)) from error

    def _import_at_most_twice(
        self, file: SettingsFile, chosen: Options, dry_run: bool, yes: bool
    ) -> None:
        """Import a file; once more if something else has changed the settings meanwhile.

        Several processes of a deploy may import the same file. What a person has seen and confirmed
        isn't compared again.
        """
        try:
            self._import(file, chosen, dry_run=dry_run, yes=yes)
        except ReloadOutdated:
            if not yes:
                raise
            self.stdout.write("The settings have changed meanwhile. They are compared again.")
            self._import(file, chosen, dry_run=dry_run, yes=yes)

    def _import(self, file: SettingsFile, chosen: Options, *, dry_run: bool, yes: bool) -> None:
        wanted = plan(file, source=chosen.source, prune=chosen.prune)
        self._show(wanted)
        preview = apply.preview(file, chosen, wanted.token) if chosen.reload else None
        if preview is not None:
            self._show_reload(preview)
        will_reload = preview is not None and preview.has_changes
        if not wanted.changes and not will_reload:
            return
        if dry_run:
            self.stdout.write("Nothing was changed.")
            return
        if not yes:
            self._confirm()
        version = apply.apply(file, chosen, wanted.token)
        if wanted.changes:
            self.stdout.write(self.style.SUCCESS("Imported."))
        if version is not None and preview is not None:
            self.show_live(version, preview.target)
        elif not chosen.reload:
            self.stdout.write("This is not live yet. To make it live, run smtp_reload.")

    def _show(self, wanted: Plan) -> None:
        name = wanted.file.document.name
        for warning in wanted.warnings:
            self.stdout.write(self.style.WARNING(f"Note: {warning}"))
        if wanted.changes:
            self.stdout.write(f"{name} changes the saved settings:")
            self._list(wanted.changes)
        else:
            self.stdout.write(f"The saved settings are those of {name}. Nothing to import.")
        others = [each.config.name for each in wanted.sets[len(wanted.file.sets) :]]
        if others:
            self.stdout.write(f"Not in the file, so kept after its sets: {', '.join(others)}.")

    def _show_reload(self, preview: Preview) -> None:
        if preview.held_from:
            self.stdout.write(
                f"The live settings come from “{preview.held_from}”. The reload makes a version of "
                "this environment."
            )
        if preview.changes:
            self.stdout.write("The reload changes what is live:")
            self._list(preview.changes)
        elif not preview.has_changes:
            self.stdout.write("All of this is live already. Nothing to reload.")

    def _list(self, changes: Iterable[SetChange]) -> None:
        for change in changes:
            self.stdout.write(f"- {change.name}: {change.kind_label}")
            for field in change.fields:
                self.stdout.write(f"    {field}")

    def _confirm(self) -> None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise CommandError("This needs a confirmation. To confirm it, add --yes.")
        if input("Import this? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was changed.")
