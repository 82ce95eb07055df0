"""What is found for each question, in sentences: the verdict, on the page and on the terminal.

Brings together what the sections and `answer_sentence` say; decides nothing.
"""

from typing import NamedTuple

from jobs.contract.quantities import quantity
from tracking.compare.result import Comparison, Settings
from tracking.questions.analysis import Question
from tracking.questions.interim import DECIDED
from tracking.report import across_datasets, divergence, time_to_target
from tracking.report.answer_sentence import sentence
from tracking.report.wording import (
    spell,
    title,
)

_MOST_SETTINGS = 3  # workloads whose settings a heading names
_LONGEST_HEADING = 90  # letters
# The words that other settings can turn around; "not estimable", "identical" and "not reached" say
# that there is no answer.
_TURNED = frozenset({*DECIDED, "faster", "slower", "undecided"})


class Finding(NamedTuple):
    """The word of a verdict, and the sentence that goes on from it."""

    word: str
    text: str


class Box(NamedTuple):
    """What has to stand beside a word: a heading, what it means, and the next command, if any."""

    heading: str
    text: str
    command: str | None


def answered(comparison: Comparison) -> list[Question]:
    """Return the questions that have an answer; the others are in `not_in_yet`."""
    return [one for one in comparison.questions if not comparison.is_open(one)]


def heading(comparison: Comparison) -> str:
    """Return what the words of a comparison stand under."""
    return "Exploratory" if comparison.exploratory else "Verdict"


def banner(comparison: Comparison) -> str:
    """Say that nothing was agreed on beforehand; empty if an analysis was frozen."""
    if not comparison.exploratory or not comparison.questions:
        return ""
    if comparison.asked:
        return (
            "Exploratory: what is asked here was put on the command line, and not frozen before "
            "the trials. Take a word here as a hint, to be confirmed by a study that is declared "
            "beforehand."
        )
    return (
        "Exploratory: no analysis was frozen before these trials, so questions, endpoints, "
        "settings and the number of seeds may have been chosen after looking at results. Take "
        "a word here as a hint, to be confirmed by a study that is declared beforehand."
    )


def not_in_yet(comparison: Comparison) -> list[str]:
    """Say of every open question how much is in, and what its answer waits for."""
    study, look = comparison.study, _awaited_look(comparison)
    lines = []
    for one in comparison.readiness:
        if not one.is_open:
            continue
        text = f"{title(one.question)}: {one.arrived} of {quantity(one.planned, 'trial')} are in; "
        if one.arrived < one.planned:
            text += (
                f"no verdict before {look} is complete, or `thermolion compare {study} "
                "--close-look` ends it as it is."
            )
        else:
            text += f"{look} is decided by the next `thermolion submit {study}`."
        lines.append(text)
    return lines


def _awaited_look(comparison: Comparison) -> str:
    """Name the look that open questions wait for: the first one, or the only one."""
    looks, record = comparison.looks, comparison.registration
    if looks is not None:
        seeds = quantity(looks.seeds[max(looks.complete, 1) - 1], "seed")
        return f"look {max(looks.complete, 1)} of {len(looks.seeds)}, at {seeds},"
    blocks = max((one.planned for one in comparison.summaries), default=0)
    if record is not None:
        blocks = len(record.analysis.blocks)
    return f"the look at {quantity(blocks, 'seed')}"


def boxes(comparison: Comparison, question: Question) -> list[Box]:
    """Return what has to stand beside the words on a question: who of it nobody has tuned.

    If there is no answer that other settings could turn, nothing does. The command tunes
    everybody, so that the first box alone names it.
    """
    untuned, names = comparison.untuned, comparison.untuned_in(question)
    if untuned is None or not names or not _can_be_turned(comparison, question):
        return []
    rates = dict(untuned.rates)
    who = [
        f"{name} (lr {spell(rates[name])})" if name in rates else f"{name} (lr by default)"
        for name in names
    ]
    text = (
        f"{' and '.join(who)} ran as declared: nobody has searched for better settings. Another "
        "learning rate can turn this answer around."
    )
    if untuned.command is None:
        return [Box("Untuned", f"{text} Not tuned here: {untuned.obstacle}.", None)]
    boxed = [
        one
        for one in comparison.questions
        if comparison.untuned_in(one) and _can_be_turned(comparison, one)
    ]
    if question != boxed[0]:
        return [Box("Untuned", f"{text} The command above tunes them as well.", None)]
    return [Box("Untuned", f"{text} The same with every candidate tuned:", untuned.command)]


def _can_be_turned(comparison: Comparison, question: Question) -> bool:
    """Return True if an answer to a question has a word, or is undecided."""
    if comparison.is_open(question):
        return False
    answers = [
        one for one in (*comparison.pooled, *comparison.by_workload) if one.question == question
    ]
    times = comparison.time_to_target.answers(question)
    words = [*(one.verdict for one in answers), *(one.word for one in times)]
    return any(word in _TURNED for word in words)


def subject(comparison: Comparison, question: Question) -> tuple[str, str]:
    """Name both sides of a question, by their settings if a single search has chosen them.

    Return a heading and, if that many settings have no room there, what goes on from it.
    """
    sides = [_with_settings(comparison, one) for one in (question.candidate, question.baseline)]
    heading = " vs ".join(sides)
    if len(heading) <= _LONGEST_HEADING:
        return heading, ""
    named = "; ".join(
        side for side in sides if side not in (question.candidate, question.baseline)
    )
    return f"{title(question)}, at the settings of one search", f"{named}: see Tuning."


def _with_settings(comparison: Comparison, name: str) -> str:
    if not comparison.units.names_settings or name not in comparison.units.tuned:
        return name
    found = {
        one.workload: _named_settings(comparison, one)
        for one in comparison.settings
        if one.candidate == name
    }
    if len({tuple(of.items()) for of in found.values()}) == 1:
        values = next(iter(found.values()))
        return f"{name} at {', '.join(f'{key} {value}' for key, value in values.items())}"
    listed = []
    for key in dict.fromkeys(key for of in found.values() for key in of):
        values = {workload: of.get(key, "none") for workload, of in found.items()}
        if len(set(values.values())) == 1:
            listed.append(f"{key} {next(iter(values.values()))}")
            continue
        each = [f"{value} on {workload}" for workload, value in values.items()]
        more = len(each) - _MOST_SETTINGS
        others = f" and others on {more} more" if more > 0 else ""
        listed.append(f"{key} {', '.join(each[:_MOST_SETTINGS])}{others}")
    return f"{name} at {' and '.join(listed)}"


def _named_settings(comparison: Comparison, one: Settings) -> dict[str, str]:
    """Return what names a setting: what was searched, learning rate and weight decay."""
    searched = () if comparison.tuning is None else comparison.tuning.searched
    spaces = [search.space for search in searched if search.candidate == one.candidate]
    known = {"lr", "weight_decay", *(key for space in spaces for key, _ in space)}
    return {
        key.replace("_", " "): spell(value)
        for key, value in one.hyperparameters.items()
        if key in known
    }


def findings(comparison: Comparison, question: Question) -> list[Finding]:
    """Return what is found on the workloads of the study: by endpoint, in time, in failures."""
    found: list[tuple[str, str]] = [
        (one.verdict, sentence(one, comparison))
        for one in comparison.pooled
        if one.question == question and one.verdict is not None
    ]
    if time_to_target.is_secondary(comparison):
        found += [
            (one.word, time_to_target.sentence(one, comparison))
            for one in comparison.time_to_target.answers(question)[:1]
        ]
    found += [
        (one.word, divergence.sentence(one))
        for one in divergence.with_divergence(comparison)
        if one.question == question
    ]
    return [Finding(word, text.removeprefix(word).strip()) for word, text in found]


def findings_beyond(comparison: Comparison, question: Question) -> list[Finding]:
    """Return what is found about other data sets or workloads like those of the study."""
    return [
        Finding(one.word, across_datasets.sentence(one, comparison).removeprefix(one.word).strip())
        for one in across_datasets.claimable_answers(comparison)
        if one.question == question
    ]
