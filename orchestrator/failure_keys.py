"""The keys of a sweep that say what follows from a failure, class by class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from jobs.failures import FailureClass
from orchestrator.durations import Duration
from orchestrator.validation import Strict

_Retries = Annotated[int, Field(ge=0, le=1000)]
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Rule:
    """What follows from one class: so many `retries`, each not before `backoff_s` seconds."""

    retries: int
    backoff_s: float = 0.0


@dataclass(frozen=True)
class Policy:
    """What follows from failures; a class that is not in `rules` costs no retry.

    A retry after memory ran out gets `memory_factor` times as much; a node that died is left out
    for `exclude_s`. `unattended`: what is to be sent again is, without anybody's `submit`.
    """

    rules: Mapping[FailureClass, Rule] = field(default_factory=dict)
    memory_factor: float = 2.0
    exclude_s: float = _DAY_S
    unattended: bool = False


class TimeoutKeys(Strict):
    """Its time was over, and it had got no further than the attempt before."""

    retries: _Retries = 1
    backoff: Duration = 0.0


class NodeFailKeys(Strict):
    """Its node died: no job of the study goes there for a while (`exclude: 0s`: it may)."""

    retries: _Retries = 5
    backoff: Duration = 0.0
    exclude: Duration = _DAY_S


class HostMemoryKeys(Strict):
    """It took more memory than its job had: the next one asks for `mem` times as much."""

    retries: _Retries = 2
    backoff: Duration = 0.0
    mem: Annotated[float, Field(ge=1, le=64)] = 2.0


class DeviceMemoryKeys(Strict):
    """It took more memory than the GPU has."""

    retries: _Retries = 0
    backoff: Duration = 0.0


class NeverStartedKeys(Strict):
    """Its job ended before it began."""

    retries: _Retries = 3
    backoff: Duration = 60.0


class UserErrorKeys(Strict):
    """The training raised an exception."""

    retries: _Retries = 0
    backoff: Duration = 0.0


class LostKeys(Strict):
    """Its process died, and nothing says why."""

    retries: _Retries = 5
    backoff: Duration = 0.0


class FailureKeys(Strict):
    """How often what has failed is sent again; a preemption costs no retry."""

    timeout: TimeoutKeys = TimeoutKeys()
    node_fail: NodeFailKeys = NodeFailKeys()
    oom_host: HostMemoryKeys = HostMemoryKeys()
    oom_device: DeviceMemoryKeys = DeviceMemoryKeys()
    never_started: NeverStartedKeys = NeverStartedKeys()
    user_error: UserErrorKeys = UserErrorKeys()
    lost: LostKeys = LostKeys()
    unattended: bool = False

    def resolved(self) -> Policy:
        return Policy(
            rules={
                "TIMEOUT": Rule(self.timeout.retries, self.timeout.backoff),
                "NODE_FAIL": Rule(self.node_fail.retries, self.node_fail.backoff),
                "OOM_HOST": Rule(self.oom_host.retries, self.oom_host.backoff),
                "OOM_DEVICE": Rule(self.oom_device.retries, self.oom_device.backoff),
                "NEVER_STARTED": Rule(self.never_started.retries, self.never_started.backoff),
                "USER_ERROR": Rule(self.user_error.retries, self.user_error.backoff),
                "LOST": Rule(self.lost.retries, self.lost.backoff),
            },
            memory_factor=self.oom_host.mem,
            exclude_s=self.node_fail.exclude,
            unattended=self.unattended,
        )
