"""What is found for each question, in sentences: the verdict, on the page and on the terminal.

Brings together what the sections say; decides nothing.
"""

from tracking.compare.analysis import Question
from tracking.compare.result import Comparison
from tracking.report import across_datasets, divergence, time_to_target, wording

Finding = tuple[str, str]  # the word of the verdict, and the sentence that begins with it


def findings(comparison: Comparison, question: Question) -> list[Finding]:
    """Return what is found on the workloads of the study: by endpoint, in time, in failures."""
    return [
        *(
            (one.verdict or "waiting", wording.sentence(one, comparison))
            for one in comparison.pooled
            if one.question == question
        ),
        *(
            (one.word, time_to_target.sentence(one))
            for one in comparison.time_to_target.answers(question)[:1]
        ),
        *(
            (one.word, divergence.sentence(one))
            for one in divergence.with_divergence(comparison)
            if one.question == question
        ),
    ]


def findings_beyond(comparison: Comparison, question: Question) -> list[Finding]:
    """Return what is found about other data sets or workloads like those of the study."""
    return [
        (one.word, across_datasets.sentence(one))
        for one in across_datasets.claimable_answers(comparison)
        if one.question == question
    ]
