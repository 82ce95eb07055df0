"""The verb `doctor`: what will and will not work on a cluster, and the next step for each.

With `--simulate`, a drill: faults are injected into a training, which has to go on.
"""

import textwrap
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.contract.atomic_write import write_once
from orchestrator.cli.terminal import Exit, print_result, say
from orchestrator.study.study import default_root
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.site_profile import profile_folder, read_site
from slurm.doctor.diagnostic import Diagnostic, Level, fatal, ok, warning
from slurm.doctor.examine import Examined, examine
from slurm.doctor.profile import propose_profile
from slurm.limits import check_visible
from slurm.request import JobResources
from slurm.site.facts import ask_site, record_answers, replay_answers
from slurm.slurm_errors import SiteError

_WIDTH = 96
_MARKS: dict[Level, str] = {"ok": "ok", "warning": "warning", "will not work": "WILL NOT WORK"}


def doctor(arguments: Namespace) -> int:
    """Read a site, judge it, and with `--nodes` look at its nodes by a job."""
    if arguments.simulate:
        return _simulate(arguments)
    if arguments.study is not None:
        raise SweepError(f"{arguments.study}: a sweep is sent with --simulate preempt (or other)")
    if arguments.recorded is not None and arguments.nodes:
        raise SweepError("--nodes sends a job, and --recorded has no cluster: leave one out")
    if arguments.recorded is not None and not arguments.recorded.is_dir():
        raise SweepError(f"there is no folder {arguments.recorded}: `--record DIR` makes one")
    root = arguments.root or default_root()
    site = read_site(arguments.site)
    ask = ask_site if arguments.record is None else record_answers(arguments.record)
    if arguments.recorded is not None:
        ask = replay_answers(arguments.recorded)
    examined = examine(site, ask("user-name", ["id", "-un"]).strip(), ask)
    if arguments.recorded is None:
        more = _examine_places(examined, root, arguments)
        examined = replace(examined, diagnostics=[*examined.diagnostics, *more])
    text = propose_profile(examined)
    if arguments.json:
        record = {"site": site.name, "findings": [one.to_json() for one in examined.diagnostics]}
        print_result(record | {"profile": text})
    else:
        print_result(_format_examined(examined, site.name))
    if arguments.write_profile is not None:
        _write_profile(arguments.write_profile, text)
    return Exit.FAILED if _is_fatal(examined) else Exit.DONE


def _simulate(arguments: Namespace) -> int:
    """Inject faults into a training on the cluster of `thermolion cluster up`."""
    from orchestrator.submit.fault_drill import run_drill
    from orchestrator.submit.writer import SendOptions
    from slurm.devcluster.faults import cluster_here

    if arguments.study is None:
        raise SweepError("--simulate needs a sweep, whose training is struck: name its file")
    cluster = cluster_here()
    options = SendOptions(arguments.data)
    resumed = True
    for fault in dict.fromkeys(arguments.simulate):
        say(f"{fault}: a copy of {arguments.study} goes to the cluster of {cluster.paths.folder}")
        ended = run_drill(arguments.study, cluster, fault, options, say)
        print_result(str(ended))
        resumed = resumed and ended.resumed
    return Exit.DONE if resumed else Exit.FAILED


def _examine_places(examined: Examined, root: Path, arguments: Namespace) -> Iterator[Diagnostic]:
    """Judge the folder of the studies and, with `--nodes`, the nodes by a job."""
    try:
        check_visible(root, examined.site)
        yield ok("folder", f"{root.absolute()}, as far as can be known from here")
    except SiteError as error:
        yield fatal("folder", str(error), "--root DIR, or THERMOLION_ROOT")
    if not arguments.nodes:
        step = "thermolion doctor --nodes sends a job of two nodes for a minute"
        yield ok("nodes", "not looked at: files, Python, rendezvous, GPU", step)
        return
    if _is_fatal(examined):
        step = "mend what will not work first, then --nodes again"
        yield warning("nodes", "not looked at: no job would be taken", step)
        return
    from slurm.doctor.nodes import check_nodes  # loads torch and submitit

    partition = examined.partition
    gpus = 0 if examined.dialect is None else 1
    nodes = min(2, partition.nodes if partition is not None else 1)
    say(f"sending a job of {nodes} nodes; waiting {arguments.wait:.0f} s for it at most")
    resources = JobResources(nodes=nodes, gpus_per_node=gpus)
    yield from check_nodes(examined.site, resources, root.absolute(), arguments.wait)


def _is_fatal(examined: Examined) -> bool:
    return any(one.level == "will not work" for one in examined.diagnostics)


def _format_examined(examined: Examined, site: str) -> str:
    cluster = examined.facts.config.get("ClusterName", "a cluster")
    lines = [f"{cluster}, by the site profile {site!r}", "", *_list_lines(examined.diagnostics)]
    return "\n".join([*lines, "", _summarize(examined.diagnostics)])


def _list_lines(diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
    marks = max(len(_MARKS[one.level]) for one in diagnostics)
    names = max(len(one.about) for one in diagnostics)
    indent = " " * (marks + names + 4)
    for one in diagnostics:
        head = f"{_MARKS[one.level]:<{marks}}  {one.about:<{names}}  "
        yield from _wrap(head, indent, one.said)
        if one.step is not None:
            yield from _wrap(f"{indent}-> ", f"{indent}   ", one.step)


def _wrap(first: str, others: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summarize(diagnostics: Sequence[Diagnostic]) -> str:
    levels = [one.level for one in diagnostics]
    bad, odd = levels.count("will not work"), levels.count("warning")
    if bad:
        return f"{bad} to mend before anything is sent" + (f", {odd} to know of" if odd else "")
    return f"ready, {odd} to know of" if odd else "ready"


def _write_profile(name: str, text: str) -> None:
    path = profile_folder() / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not write_once(path, text):
        raise SweepError(f"{path} is there already: name another one, or move it away")
    say(f"written to {path}; chosen by --site {name}, or `site: {name}` in a sweep")
