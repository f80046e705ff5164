"""Write YAML that every program reads as the same values."""

from collections.abc import Mapping
from typing import Any

import yaml

from wagtail_smtp.config_files.yaml_events import plain


class _Dumper(yaml.SafeDumper):
    """Indents lists, and quotes text that some program could read as something else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """Indent lists below their name, as people write them."""
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values twice."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None if plain(text) == (text, "") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


def _dictionary(dumper: yaml.SafeDumper, values: Mapping[str, Any]) -> yaml.MappingNode:
    # Where a secret is read fits on one line.
    is_short = len(values) == 1 and set(values) <= {"env", "file"}
    return dumper.represent_mapping("tag:yaml.org,2002:map", values.items(), flow_style=is_short)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _dictionary)


def dump(content: Mapping[str, Any]) -> str:
    """Return ``content`` as YAML, in its own order."""
    return yaml.dump(
        dict(content),
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        width=float("inf"),
    )
