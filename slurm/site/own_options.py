"""Options of sbatch that a site adds to ours: which it may add, and how the two go together.

What a key of the profile or of the sweep says has that key alone: two places that say a thing
contradict each other in the end.
"""

import math
import re
import shlex
from collections.abc import Mapping

from slurm.site.site import OptionValue
from slurm.slurm_errors import SiteError

MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")
_GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
_GPU = re.compile(r"(?:^|,)(?:gres[:/])?gpu\b")
_OURS = frozenset(
    {
        *("array", "dependency", "error", "job-name", "output", "parsable", "wrap"),
        *("wait", "test-only"),  # sbatch would answer when the job has ended, or send none
    }
)
_IN_SWEEP = "`resources` of the sweep says so"
# By option: the place that says it.
_ELSEWHERE: Mapping[str, str] = {
    **{name: f"the key `{name}` says so" for name in ("partition", "account", "qos", "time")},
    "constraint": "the key `constraint` says so",
    "signal": "the key `grace` says so",
    "requeue": "the key `requeue` says so",
    "no-requeue": "the key `requeue` says so",
    **dict.fromkeys(
        ("nodes", "ntasks", "ntasks-per-node", "tasks-per-node", "cpus-per-task"), _IN_SWEEP
    ),
}
_LONG = dict(
    word.split(":")
    for word in [
        "A:account",
        "a:array",
        "C:constraint",
        "c:cpus-per-task",
        "D:chdir",
        "d:dependency",
        "e:error",
        "G:gpus",
        "J:job-name",
        "L:licenses",
        "M:clusters",
        "N:nodes",
        "n:ntasks",
        "o:output",
        "p:partition",
        "q:qos",
        "t:time",
        "W:wait",
        "w:nodelist",
        "x:exclude",
    ]
)
_MEGABYTES = {"K": 1 / 1024, "M": 1, "": 1, "G": 1024, "T": 1024**2}


def check_option(name: str, value: OptionValue, has_gpu_words: bool) -> None:
    """Raise ValueError for an option that a site may not add, with the place that says it.

    `has_gpu_words`: the profile names a dialect in which GPUs are asked for.
    """
    if name in _LONG:
        raise ValueError(f"{name!r} is the short name of an option: write {_LONG[name]!r}")
    if name in _OURS:
        raise ValueError(f"{name} is ours to set: take it out")
    if name in _ELSEWHERE:
        raise ValueError(f"{name} is no further option: {_ELSEWHERE[name]}; take it out")
    if name == "clusters":
        raise ValueError(
            "clusters sends jobs where squeue does not see them: take it out, and send from a "
            "machine of that cluster, or set SLURM_CONF"
        )
    asks_gpus = name in _GPUS or (name == "gres" and _GPU.search(str(value)) is not None)
    if asks_gpus and has_gpu_words:
        raise ValueError(
            f"{name} asks for GPUs, as `gpus` and `gpu_type` do: take it out, or write "
            'gpus = "none" if jobs are to get no other word for GPUs'
        )
    if name in MEMORY:
        parse_megabytes(str(value), name)


def check_directive(line: str, has_gpu_words: bool) -> None:
    """Raise ValueError for a line that may not stand among the #SBATCH lines of a script."""
    if not line.startswith("#") or line.startswith("#!") or "\n" in line:
        raise ValueError(f"{line!r} is no line such as '#SBATCH --name=value' or '#DW …'")
    words = line.split(maxsplit=1)
    if words[0] != "#SBATCH":
        return
    for word in shlex.split(words[1] if len(words) > 1 else "", comments=True):
        if word in ("hetjob", "packjob"):
            raise ValueError(f"{line!r} makes several jobs of one: take it out")
        name, _, value = word.lstrip("-").partition("=")
        if name in MEMORY:
            raise ValueError(f"{line!r}: write {name} into `options`, so that it can be raised")
        if word.startswith("-"):
            check_option(name[:1] if not word.startswith("--") else name, value, has_gpu_words)
        if name == "exclude" or (name == "gres" and has_gpu_words):
            raise ValueError(f"{line!r} takes the place of our own: write {name} into `options`")


def parse_megabytes(mem: str, name: str = "resources.mem") -> float:
    """Return the MB of memory as sbatch takes it: a number of MB, or with K, M, G or T.

    Raises SiteError for anything else; `name` is who says it.
    """
    match = re.fullmatch(r"([0-9]+)([KMGT]?)B?", mem, re.I)
    if match is None:
        raise SiteError(f"{name}: {mem!r} is no memory: write 4000M or 32G")
    return int(match[1]) * _MEGABYTES[match[2].upper()]


def memory_word(options: Mapping[str, OptionValue], gpus: int) -> str:
    """Return the option by which a site asks for memory; a job without GPUs has none per GPU."""
    words = [name for name in MEMORY if name in options]
    return words[0] if words and (words[0] != "mem-per-gpu" or gpus) else "mem"


def memory_of_node(options: Mapping[str, OptionValue], cpus: int, gpus: int) -> float | None:
    """Return the MB that options give a job on so many CPUs and GPUs of a node.

    None if they do not say, 0 if it has all of a node's.
    """
    word = memory_word(options, gpus)
    if word not in options:
        return None
    share = {"mem": 1, "mem-per-cpu": cpus, "mem-per-gpu": gpus}[word]
    return share * parse_megabytes(str(options[word]), f"{word} of the site profile")


def ask_memory(
    options: Mapping[str, OptionValue], mem: str | None, cpus: int, gpus: int
) -> dict[str, OptionValue]:
    """Return the option for the memory of a job on so many CPUs and GPUs of a node.

    It is that of the site, with the number for `mem` of a node if that is given.
    """
    word = memory_word(options, gpus)
    if mem is None:
        return {word: options[word]} if word in options else {}
    if word == "mem":
        return {word: mem}
    share = cpus if word == "mem-per-cpu" else gpus
    return {word: f"{math.ceil(parse_megabytes(mem) / share)}M"}


def join_options(
    ours: Mapping[str, OptionValue], site: Mapping[str, OptionValue]
) -> dict[str, OptionValue]:
    """Return our options with those of a site; it has the last word, except on lists of both."""
    both = {**ours, **{name: value for name, value in site.items() if value is not False}}
    for name in ("gres", "exclude"):
        if name in ours and name in site:
            both[name] = f"{ours[name]},{site[name]}"
    return both


def helper_options(options: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
    """Return the options of a site for a small job, which has no GPU unless they ask for one."""
    asks_gpus = any(name in options for name in (*_GPUS, "gres"))
    left_out = () if asks_gpus else ("mem-per-gpu", "cpus-per-gpu")
    return {name: value for name, value in options.items() if name not in left_out}
