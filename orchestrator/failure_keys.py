"""The keys of a sweep that say what follows from a failure, class by class."""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from jobs.failures import FailureClass
from orchestrator.durations import Duration
from orchestrator.validation import Strict


class FailureRule(Strict):
    """What follows from one class: so many `retries`, each not before `backoff`.

    What is left out is as in the defaults of that class.
    """

    retries: Annotated[int, Field(ge=0, le=1000)] = 0
    backoff: Duration = 0.0


class NodeFailRule(FailureRule):
    """No job of the study goes to the node for a while (`exclude: 0s`: it may)."""

    exclude: Duration = 86_400.0


class HostMemoryRule(FailureRule):
    """The next job asks for `mem` times as much memory."""

    mem: Annotated[float, Field(ge=1, le=64)] = 2.0


class FailureKeys(Strict):
    """How often what has failed is sent again; a preemption costs no retry.

    `timeout`: its time was over, and it had got no further than the attempt before. `node_fail`:
    its node died. `oom_host`: it took more memory than its job had. `oom_device`: it took more
    memory than the GPU has. `never_started`: its job ended before it began. `user_error`: the
    training raised an exception. `lost`: its process died, and nothing says why. `unattended`:
    what is to be sent again is, without anybody's `submit`.
    """

    timeout: FailureRule = FailureRule(retries=1)
    node_fail: NodeFailRule = NodeFailRule(retries=5)
    oom_host: HostMemoryRule = HostMemoryRule(retries=2)
    oom_device: FailureRule = FailureRule(retries=0)
    # Constructed unchecked, for people write durations with a unit.
    never_started: FailureRule = FailureRule.model_construct(retries=3, backoff=60.0)
    user_error: FailureRule = FailureRule(retries=0)
    lost: FailureRule = FailureRule(retries=5)
    unattended: bool = False

    @field_validator("*")
    @classmethod
    def _filled_by_class(cls, value: Any, about: ValidationInfo) -> Any:
        if not isinstance(value, FailureRule):
            return value
        default: FailureRule = cls.model_fields[str(about.field_name)].default
        return default.model_copy(
            update={name: getattr(value, name) for name in value.model_fields_set}
        )

    def rule(self, failure: FailureClass) -> FailureRule | None:
        """Return what follows from a class of failure; None for one that costs no retry."""
        found: FailureRule | None = getattr(self, failure.lower(), None)
        return found
