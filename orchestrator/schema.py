"""The JSON schema of sweep files, for editors: `python -m orchestrator.schema`."""

import json
import sys
from typing import Any

from pydantic import BaseModel

from orchestrator.image_workload import ImageWorkloadKeys
from orchestrator.own_workload import UserWorkloadKeys
from orchestrator.sweep import SweepFile


def sweep_schema() -> dict[str, Any]:
    """Return the schema of what users write; crossing and defaults loosen what is required."""
    schema = SweepFile.model_json_schema()
    kinds: tuple[type[BaseModel], ...] = (ImageWorkloadKeys, UserWorkloadKeys)
    fields: dict[str, Any] = {}
    for kind in kinds:
        workload = kind.model_json_schema()
        schema["$defs"] |= workload.pop("$defs", {})
        del workload["required"]  # `defaults` and `each` may hold the rest
        schema["$defs"][kind.__name__] = workload
        fields = workload["properties"] | fields
    lists = {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}}
    either = {"type": "object", "additionalProperties": False, "properties": fields}
    schema["$defs"]["Defaults"] = either
    schema["$defs"]["CrossedWorkloads"] = either | {"properties": fields | {"each": lists}}
    properties = schema["properties"]
    properties["defaults"] = {"$ref": "#/$defs/Defaults"}
    one = {"anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds]}
    properties["workloads"] = {
        "anyOf": [{"type": "array", "items": one}, {"$ref": "#/$defs/CrossedWorkloads"}]
    }
    return schema


if __name__ == "__main__":
    json.dump(sweep_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
