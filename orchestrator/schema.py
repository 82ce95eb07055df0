"""The JSON schema of sweep files, for editors: `python -m orchestrator.schema`."""

import json
import sys
from typing import Any

from orchestrator.sweep import SweepFile


def sweep_schema() -> dict[str, Any]:
    """Return the schema of what users write; crossing and defaults loosen what is required."""
    schema = SweepFile.model_json_schema()
    workload = schema["$defs"]["ImageWorkload"]
    del workload["required"]  # `defaults` and `each` may hold the rest
    properties = schema["properties"]
    properties["defaults"] = {"$ref": "#/$defs/ImageWorkload"}
    lists = {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}}
    crossed = workload | {"properties": workload["properties"] | {"each": lists}}
    schema["$defs"]["CrossedWorkloads"] = crossed
    properties["workloads"] = {
        "anyOf": [properties["workloads"], {"$ref": "#/$defs/CrossedWorkloads"}]
    }
    return schema


if __name__ == "__main__":
    json.dump(sweep_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
