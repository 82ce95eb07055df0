"""What limits the answers: caveats in sentences, and lists of blocks and trials with the reason.

Reads a comparison and the outcomes it was made of; excludes nothing itself.
"""

from collections.abc import Mapping, Sequence

from jobs.contract.quantities import quantity
from tracking.compare.result import EXPLORATORY, Comparison
from tracking.outcomes import Outcome
from tracking.questions.interim import DECIDED
from tracking.report.tables import Table
from tracking.report.wording import all_in_points, list_incomplete, some, title, units

FLAGS: Mapping[str, str] = {
    "collapse": "Trials diverged. Each counts as chance in the means, so that a few of them can "
    "decide an answer: see also the medians and the answers without their blocks.",
    "rests on collapse": "Without the blocks of diverged trials the data do not say so, and "
    "therefore it is called undecided.",
    "at chance": "Some trials are no better than chance at their end: they have learnt nothing, "
    "or not yet. They count with what they reached.",
    "data": "Some blocks were trained on other data than the first one of their workload.",
    "code": "Some blocks mix versions of the training code.",
    "results": "Some blocks mix results that were read in different ways: `results` of the sweep "
    "was changed between their trials.",
    "device": "Some blocks mix device types, so their arithmetic is not alike.",
    "nondeterministic": "Some trial gave two values for one step when it was resumed.",
    "no spread": "All differences, or all runs of either side, have one value: nothing "
    "estimates the error.",
    "partial": "Workloads with fewer than two complete blocks are not in the average.",
    "mixed tracks": "The average is over workloads with and without held-out validation data.",
    "mixed metrics": "The average is over workloads with different metrics of one unit.",
    "shared seeds": "Workloads that differ in ranks or precision alone (of runs of other tools: "
    "in what is not known) have the same seeds, and maybe the same search: they are no "
    "repetitions of each other, and none is counted as one.",
    "mixed units": "The workloads are measured in different units or directions, so nothing is "
    "pooled over them: see the single workloads.",
    "no AUC": "Blocks whose learning curves are missing or cover unlike steps are left out of the "
    "AUC; the final score stands.",
    "unlike machines": "Blocks whose trials ran on unlike machines (another device, other memory "
    "of it, other packages) are left out of what is measured in seconds.",
    "exploratory": "Answers marked exploratory are none of those that were agreed on before the "
    "trials, and stand outside their family of tests.",
    "few seeds": "Fewer than five seeds a workload (three, if four or more workloads are pooled): "
    "intervals rest on differences that are normally distributed, and so few cannot show if they "
    "are.",
}
# Said in the sentence of the answer that they are about, and nowhere else.
_IN_THE_SENTENCE = frozenset({"rests on collapse", "mixed units"})
# Of answers with fewer than two units, said in their sentence and of others below.
_BELOW_IF_ESTIMATED = frozenset({"unlike machines"})


def caveats(comparison: Comparison) -> list[str]:
    """List what a reader must know before believing the answers, most pressing first."""
    texts = looks_caveats(comparison)
    if comparison.open_trials and comparison.exploratory and comparison.looks is None:
        texts.append(
            f"Interim: {comparison.open_trials} of {quantity(comparison.trials, 'trial')} still "
            "without an end. The p-values hold once the planned seeds are in; stopping as soon as "
            "one looks good finds differences that are not there."
        )
    texts += _closed_look_caveats(comparison)
    texts += comparison.notes
    if comparison.incomplete:
        texts.append(
            f"{quantity(len(comparison.incomplete), 'block')} incomplete and left out of the "
            "questions that need the missing trials."
        )
    turned = any(workload.metric_spec.goal == "min" for workload in comparison.workloads)
    if comparison.questions and (turned or not all_in_points(comparison)):
        texts.append(units(comparison))
    for workload in comparison.workloads:
        if not workload.held_out:
            steps = "" if workload.steps is None else f"{workload.steps}-step "
            texts.append(
                f"{workload.name}: {steps}training-set speed, no held-out validation data."
            )
    return texts + _flag_caveats(comparison)


def _flag_caveats(comparison: Comparison) -> list[str]:
    """Say what the flags mean that are raised, and on which workloads if not on all."""
    rows = (*comparison.pooled, *comparison.by_workload)
    texts = []
    asks_means = comparison.registration is not None and comparison.primary == "mean"
    for flag, text in FLAGS.items():
        raised = [one for one in rows if flag in one.flags]
        if flag in _BELOW_IF_ESTIMATED:
            raised = [one for one in raised if one.estimate.kind != "undefined"]
        if flag == "few seeds":  # it is about intervals
            raised = [one for one in raised if one.verdict is not None]
        if flag == EXPLORATORY and comparison.exploratory:  # all are, and none is marked
            continue
        if flag in _IN_THE_SENTENCE or not raised:
            continue
        names = [one.workload for one in raised if one.workload is not None]
        named = list(dict.fromkeys(names))
        is_partial = 0 < len(named) < len(comparison.workloads)
        texts.append(text + f" ({some(named)})" * is_partial)
        if flag == "collapse" and asks_means and any(one.verdict is not None for one in raised):
            texts.append(_advice(comparison))
    return texts


def _advice(comparison: Comparison) -> str:
    """Say how to ask a question that diverged trials cannot blur."""
    return (
        "Who wins more often, instead of by how much, is a question that some diverged trials "
        "leave sharp. To ask it on fresh seeds: "
        f"`thermolion run {comparison.study} --confirm {comparison.study}-wins "
        "--set analysis.primary=win_probability`"
    )


def _closed_look_caveats(comparison: Comparison) -> list[str]:
    """Name the questions that were answered without all of their trials."""
    closed = [
        f"{title(one.question)} ({one.arrived} of {one.planned})"
        for one in comparison.readiness
        if one.closed and one.arrived < one.planned
    ]
    if not closed:
        return []
    text = f"The look was closed with trials missing: {some(closed)} were in. If they are missing "
    return [text + "for a reason that has to do with a candidate, its answers are off."]


def looks_caveats(comparison: Comparison) -> list[str]:
    """Say at which look a comparison is, and that nothing is read between two looks."""
    looks = comparison.looks
    if looks is None:
        return []
    if comparison.any_open:
        return []  # what is said of these questions says it
    if looks.complete == 0:
        waits = f"{comparison.open_trials} of {quantity(comparison.trials, 'trial')}"
        return [
            f"Interim: look 1 of {len(looks.seeds)}, at {looks.seeds[0]} seeds, waits for {waits}."
        ]
    at = f"Look {looks.complete} of {len(looks.seeds)}, at {looks.seeds[looks.complete - 1]} seeds"
    if looks.complete == len(looks.seeds):
        return [f"{at}: the last one. Intervals and p-values hold over all looks."]
    is_open = any(one.verdict not in DECIDED for one in comparison.confirmatory)
    goes_on = (
        "trials of the next look are not read before all of them have an end"
        if is_open
        else "every question is decided, so the study has stopped"
    )
    return [f"{at}: {goes_on}. Intervals and p-values hold over all looks."]


def list_exclusions(comparison: Comparison, outcomes: Sequence[Outcome]) -> list[Table]:
    """Return a table for each kind of exclusion or flag that occurs in the comparison."""
    rows: Mapping[str, Sequence[Mapping[str, str]]] = {
        "Incomplete blocks: left out of every question that needs the missing trial": [
            {"workload": workload, "block": blocks, "missing": missing}
            for workload, blocks, missing in list_incomplete(comparison.incomplete)
        ],
        "Diverged trials: counted as chance, or incomplete if it is not known": [
            {
                "workload": one.trial.workload.name,
                "block": str(one.trial.block),
                "candidate": one.trial.candidate.name,
                "why": one.error or "no reason given",
                "trial": one.trial.id,
            }
            for one in outcomes
            if one.state == "diverged"
        ],
        "Without a time to target": [
            {"workload": workload, "block": str(block), "candidate": candidate, "why": why}
            for workload, candidate, block, why in comparison.time_to_target.problems
        ],
        "Flagged blocks: used all the same": [
            {
                "workload": flag.workload,
                "block": str(flag.block),
                "flag": flag.kind,
                "detail": flag.detail,
            }
            for flag in comparison.flags
        ],
    }
    return [Table.of(caption, listed) for caption, listed in rows.items() if listed]
