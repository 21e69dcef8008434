"""JSON schema of params.yaml, which editors use to complete, explain and check it.

`make schema` writes it to params.schema.json; the first line of params.yaml refers to it.
"""

import json
import sys

from pydantic.json_schema import GenerateJsonSchema

from roadseg.config.params import Params


class _WithoutTitles(GenerateJsonSchema):
    """Leave out the titles, which only repeat the keys."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def params_schema() -> str:
    """Return the JSON schema of `Params` as the text of a file."""
    schema = Params.model_json_schema(schema_generator=_WithoutTitles)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(params_schema().encode())  # UTF-8 in every locale
