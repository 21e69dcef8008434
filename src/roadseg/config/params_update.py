"""Change values of params.yaml; its comments, order and quotes stay as they are."""

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter


class _Representer(RoundTripRepresenter):
    """Writes None as `null`, as in params.yaml, and not as an empty value."""

    def represent_none(self, data: Any) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


def update_params(text: str, changes: Mapping[str, object]) -> str:
    """Return the YAML `text` with other values.

    Args:
        text: a valid params.yaml.
        changes: values by dotted key, such as `data.source`.
    """
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = len(text) + 4096  # no line breaks in long values
    yaml.indent(mapping=2, sequence=4, offset=2)
    params = yaml.load(text)
    for key, value in changes.items():
        section_name, _, name = key.partition(".")
        section = params[section_name]
        section[name] = value
        comment = section.ca.items.get(name)
        if comment and comment[2]:
            comment[2].start_mark.column = 0  # one space after the new value
    updated = io.StringIO()
    yaml.dump(params, updated)
    return updated.getvalue()
