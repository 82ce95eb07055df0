"""Why a trial ended without a result: the classes, and how an error or an output is classified.

The states of SLURM are in `slurm.queue.squeue`; the sweep says what follows from a class
(`orchestrator.sweep.keys`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

FailureClass = Literal[
    "PREEMPTED",  # it had to make room for another job
    "TIMEOUT",  # its time was over
    "NODE_FAIL",  # the node died
    "GPU_FAULT",  # a GPU of the node, or its link to others, is broken
    "OOM_HOST",  # it wanted more memory than the job, or the machine, had
    "OOM_DEVICE",  # it wanted more memory than the GPU had
    "CANCELLED",  # its job was cancelled, and not by `thermolion cancel`
    "NEVER_STARTED",  # its job ended before the first line of its log
    "DIVERGED",  # a result, not a failure: it is never sent again
    "USER_ERROR",  # the training raised an exception
    "LOST",  # the process died, and nothing says why
]
CLASSES: tuple[FailureClass, ...] = get_args(FailureClass)

# Searched in the error of an exception; kinds are the names of its class.
_DEVICE = re.compile(
    r"\b(CUDA|HIP|XPU|MPS)\b.*out of memory|out of memory.*\b(CUDA|HIP|XPU|MPS)\b"
    r"|CUBLAS_STATUS_ALLOC_FAILED|NCCL.*out of memory|Failed to CUDA (calloc|malloc)",
    re.I | re.S,
)
# Of the hardware and its driver. An illegal access, a launch failure: these are of the program.
_FAULT = re.compile(
    r"uncorrectable (ECC|NVLink) error"
    r"|\b(CUDA_ERROR_|cudaError)((ECC|NVLINK)_?UNCORRECTABLE|DEVICES?_?UNAVAILABLE)"
    r"|NVRM: Xid|\bXid \(PCI|GPU (has )?fallen off the bus|GPU is lost|GPU requires reset|GPU Hang"
    r"|CUDA-capable device\(s\) is/are busy or unavailable|CUDA error: device unavailable"
    r"|HSA_STATUS_ERROR_HARDWARE",
    re.I,
)
# Of a device or a link that others wait for: which one, only a job on one node can tell. What NCCL
# says of its settings (NCCL_DEBUG=INFO), such as NCCL_IB_TIMEOUT, is no time-out.
_LINK = re.compile(
    r"collective operation timeout: WorkNCCL"
    r"|\bNCCL\b(?! INFO)[^\n]{0,200}\b(timed out|time-?out)(?!\w)",
    re.I,
)
_HOST = re.compile(
    r"DefaultCPUAllocator|Cannot allocate memory|Unable to allocate .* for an array"
    r"|bus error.*shared memory|DataLoader worker .* killed by signal: Killed",
    re.I | re.S,
)
_KILLED_COMMAND = re.compile(r"ended by signal SIGKILL|exit code 137\b")

# Searched in what a job has printed, also by what killed it; the first match counts.
_WORDS: Mapping[FailureClass, "re.Pattern[str]"] = {
    "OOM_HOST": re.compile(
        r"oom[-_]kill|exceeded (job )?memory limit|cgroup out-of-memory|OUT[-_ ]OF[-_ ]MEMORY",
        re.I,
    ),
    "NODE_FAIL": re.compile(r"DUE TO NODE FAILURE"),
    "GPU_FAULT": re.compile(f"{_FAULT.pattern}|{_LINK.pattern}", re.I),
    "TIMEOUT": re.compile(r"DUE TO TIME LIMIT"),
    "PREEMPTED": re.compile(r"DUE TO PREEMPTION"),
    # Of the job as a whole: srun says so of a step one of whose ranks has failed.
    "CANCELLED": re.compile(r"\*\*\* JOB \d+ ON \S+ CANCELLED AT [-:T\d]+ \*\*\*"),
}


# As Python prints a frame; within a group of exceptions it is indented by bars.
_FRAME = re.compile(r'^[ |]*File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)
# What differs between failures of one cause: addresses, paths, digests, numbers.
_VARYING = re.compile(r"0x[0-9a-fA-F]+|(?:\.{0,2}/[^\s:'\",)]+)+|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?")
# A command has failed, and the last line that it has printed says why.
_EXIT = re.compile(r"CommandError: .* (ended with exit code|was ended by signal) ")
_COMMAND = "CommandError: "


@dataclass(frozen=True)
class JobEnd:
    """How a job ended whose log does not say so; `node` is the one that it ran on, if it did.

    `gained` is False if its time was over without any progress; `time_s` is when that was first
    seen (seconds since the epoch). `cause` is equal for jobs that ended alike before they began,
    and None if that says nothing of the others. `by_other`: its job was cancelled by somebody else
    than the user who has sent it, or may have been.
    """

    failure: FailureClass
    why: str
    node: str | None = None
    gained: bool | None = None
    time_s: float = 0.0
    cause: str | None = None
    by_other: bool = False


def classify_exception(kind: str | None, error: str | None) -> FailureClass:
    """Return the class of a failure with an exception of `kind`, as the log has it."""
    text = error or ""
    if kind == "OutOfMemoryError" or _DEVICE.search(text):  # torch's, of any accelerator
        return "OOM_DEVICE"
    if _FAULT.search(text) or _LINK.search(text):
        return "GPU_FAULT"
    if kind in ("MemoryError", "_ArrayMemoryError") or _HOST.search(text):
        return "OOM_HOST"
    if kind == "ExitCode" and _KILLED_COMMAND.search(text.partition("\n")[0]):
        return classify_output(text) or "LOST"
    return "USER_ERROR"


def find_cause(kind: str | None, error: str | None, traceback: str | None) -> str:
    """Return the text that failures of one cause have in common.

    It has their class and the place that raised: a file's name and line, as its folder differs
    between snapshots of one code. Without a traceback, and of a command, the class and what
    `shorten_error` gives, without its numbers and paths.
    """
    frames = [] if (error or "").startswith(_COMMAND) else list(_FRAME.finditer(traceback or ""))
    if frames:
        path = frames[-1]["file"].replace("\\", "/")
        return f"{kind or ''} at {path.rpartition('/')[2]}:{frames[-1]['line']}"
    return f"{kind or ''}: {hide_varying(shorten_error(error or ''))}"


def shorten_error(error: str) -> str:
    """Return the line of an error that says most: the first one.

    Of a command that has failed it is the last one, which is the last that it has printed.
    """
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if _EXIT.match(lines[0]) else lines[0]


def hide_varying(text: str) -> str:
    """Return a text without what differs between failures of one cause, such as numbers."""
    return _VARYING.sub("#", text)


def is_of_one_device(error: str) -> bool:
    """Return True if a GPU_FAULT is that of the device on which it was seen."""
    return _FAULT.search(error) is not None or _LINK.search(error) is None


def classify_output(text: str) -> FailureClass | None:
    """Return the class that the last lines of a job's output show, None if they show none."""
    return next((failure for failure, words in _WORDS.items() if words.search(text)), None)


def find_common_start_failure(ends: Iterable[JobEnd], patience: int) -> JobEnd | None:
    """Return how `patience` jobs ended alike before they began, None if there are not so many.

    Of broken GPUs those of one node count once: that of every node is no fault of the hardware.
    """
    by_cause: dict[str, dict[object, JobEnd]] = {}
    for number, end in enumerate(ends):
        if end.cause is not None:
            who = end.node if end.failure == "GPU_FAULT" else number
            by_cause.setdefault(end.cause, {}).setdefault(who, end)
    for alike in by_cause.values():
        if 0 < patience <= len(alike):
            return next(iter(alike.values()))
    return None
