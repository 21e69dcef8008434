"""The JSON schema of params.yaml, with which editors complete, explain and check it.

`make schema` writes it to params.schema.json, which the first line of params.yaml names.
"""

import json

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
    print(params_schema(), end="")
