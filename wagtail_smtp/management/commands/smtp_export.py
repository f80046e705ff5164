"""manage.py smtp_export: write the saved settings as a file for a repository."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp.config_files import export, reader
from wagtail_smtp.management import EmailCommand

FORMATS = {"yaml": export.as_yaml, "json": export.as_json}


class Command(EmailCommand):
    """Export the saved sets and the delivery method, without any secret."""

    help = (
        "Write the saved settings sets and the delivery method as YAML or JSON. Passwords and keys "
        "are never written: the file says from which environment variables they are read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--format",
            choices=sorted(FORMATS),
            help="Default: json if the name of --output ends in .json, otherwise yaml.",
        )
        parser.add_argument("--output", metavar="FILE", help="Default: the console.")

    def handle(self, *args: Any, output: str | None, **options: Any) -> None:
        is_json = Path(output or "").suffix.lower() == ".json"
        chosen = options["format"] or ("json" if is_json else "yaml")
        if chosen == "yaml" and "PyYAML" in reader.missing_packages():
            raise CommandError(f"YAML needs a package. Use --format json, or run: {reader.INSTALL}")
        found = export.export()
        text = FORMATS[chosen](found.content)
        if output is None:
            self.stdout.write(text, ending="")
        else:
            try:
                Path(output).write_text(text, "utf-8", newline="\n")
            except OSError as error:
                raise CommandError(f"{output} can't be written: {error.strerror}.") from error
        self._list_variables(found.variables)

    def _list_variables(self, variables: tuple[export.NeededVariable, ...]) -> None:
        if not variables:
            return
        lines = ["Set these environment variables where you import the file:"]
        lines += [f"- {each.name}: {each.secret} of “{each.set_name}”" for each in variables]
        refused = [each.name for each in variables if not each.is_allowed]
        if refused:
            lines.append(
                "WAGTAIL_SMTP['SECRET_VARIABLES'] doesn't allow these names yet: "
                f"{', '.join(refused)}."
            )
        self.stderr.write("\n".join(lines), str)  # it isn't an error
