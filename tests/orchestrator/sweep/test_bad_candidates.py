"""Wrong candidates: exit code 2, one message with place, value, choices and nearest match."""

import pytest
from refusals import VERBS, assert_refused, sweep, workload

CASES = {
    "misspelt optimizer": (
        sweep(candidates="candidates:\n  admw: {}\n"),
        ["line 4", "'admw'", "did you mean 'adam", "thermolion, lion", "module:Class"],
    ),
    "misspelt optimizer key": (
        sweep(candidates="candidates:\n  mine: {optimizer: termolion}\n"),
        ["line 4", "'termolion'", "did you mean 'thermolion'?"],
    ),
    "unknown hyperparameter": (
        sweep(candidates="candidates:\n  adamw:\n    lr: 1e-3\n    bates: [0.9, 0.99]\n"),
        ["line 6", "candidates.adamw.bates", "did you mean 'betas'?", "weight_decay"],
    ),
    "negative lr": (
        sweep(candidates="candidates:\n  adamw: {lr: -1e-3}\n"),
        ["line 4", "lr is -0.001", "0 or more"],
    ),
    "NaN lr": (
        sweep(candidates="candidates:\n  adamw: {lr: .nan}\n"),
        ["line 4", "lr is nan", "finite"],
    ),
    "lr as text": (
        sweep(candidates="candidates:\n  adamw: {lr: high}\n"),
        ["line 4", "lr is 'high'", "finite number"],
    ),
    "bad lr inside a grid": (
        sweep(candidates="candidates:\n  adamw: {lr: [1e-3, -1]}\n"),
        ["line 4", "lr is -1", "0 or more"],
    ),
    "empty grid": (
        sweep(candidates="candidates:\n  adamw: {lr: []}\n"),
        ["line 4", "candidates.adamw.lr", "empty"],
    ),
    "betas of the wrong length": (
        sweep(candidates="candidates:\n  adamw: {betas: [0.9]}\n"),
        ["line 4", "betas is [0.9]", "two numbers in [0, 1)"],
    ),
    "baseline that is a grid": (
        sweep(
            candidates="candidates:\n  adamw: {lr: [1e-3, 3e-4]}\n  lion: {}\n",
            baseline="baseline: adamw\n",
        ),
        ["line 7", "grid of 2", "adamw[lr=0.001]", "adamw[lr=0.0003]"],
    ),
    "two candidates of equal content": (
        sweep(candidates="candidates:\n  adamw: {}\n  again: {optimizer: adamw, lr: 1e-3}\n"),
        ["line 5", "'again' and 'adamw' are equal in content", "replica"],
    ),
    "no candidates": (
        sweep(candidates="candidates: {}\n"),
        ["line 3", "no candidates"],
    ),
    "two candidates of one name": (
        sweep(
            candidates="candidates:\n  adamw: {lr: [0.1, 0.2]}\n"
            "  adamw[lr=0.1]: {optimizer: adam}\n"
        ),
        ["line 5", "two candidates are called 'adamw[lr=0.1]'"],
    ),
    "a candidate's name with a line break": (
        sweep(candidates='candidates:\n  "a\\nb": {optimizer: adam}\n'),
        ["line 3", "printable"],
    ),
    "a number too large for any float": (
        sweep(candidates="candidates:\n  adamw: {lr: 1" + "0" * 400 + "}\n"),
        ["line 4", "401 digits", "finite"],
    ),
    "a date by tag": (
        sweep(candidates="candidates:\n  m: {optimizer: 'a:B', x: !!timestamp 2024-01-01}\n"),
        ["text, numbers, true and false"],
    ),
    "a nested number that is not finite": (
        sweep(candidates="candidates:\n  m: {optimizer: 'a:B', x: {y: .nan}}\n"),
        ["line 4", "finite number"],
    ),
    "two forms of the step": (
        sweep(candidates="candidates:\n  thermolion: {foreach: true, fused: true}\n"),
        ["line 4", "foreach and fused are both true", "leave one of them out"],
    ),
    "a form of the step that is no choice": (
        sweep(candidates="candidates:\n  adamw: {fused: maybe}\n"),
        ["line 4", "fused is 'maybe'", "true or false"],
    ),
    "an unknown gate": (
        sweep(candidates="candidates:\n  thermolion: {gate: mine}\n"),
        ["line 4", "gate is 'mine'", "averaged, replicas, local"],
    ),
    "a form of the step that is neither on nor off": (
        sweep(candidates="candidates:\n  thermolion: {fused: maybe}\n"),
        ["line 4", "fused is 'maybe'", "true or false"],
    ),
    "a form of the step of an optimizer that has none to choose": (
        sweep(candidates="candidates:\n  lion: {fused: true}\n"),
        ["line 4", "fused"],
    ),
    "a reference batch of no samples": (
        sweep(candidates="candidates:\n  thermolion: {gate: replicas, reference_batch: 0}\n"),
        ["line 4", "reference_batch is 0", "whole number of samples, 1 or more"],
    ),
    "a reference batch without effect": (
        sweep(candidates="candidates:\n  thermolion: {reference_batch: 128}\n"),
        ["line 4", "reference_batch is 128", "gate is 'averaged'", "gate: replicas"],
    ),
    "a reference batch that one rank cannot give": (
        sweep(candidates="candidates:\n  thermolion: {gate: replicas, reference_batch: 32}\n"),
        ["line 4", "reference_batch is 32", "global batch of 128 on one rank", "ranks: 2"],
    ),
    "a reference above the batch for all of v": (
        sweep(
            workloads=workload(ranks=2),
            candidates="candidates:\n"
            "  thermolion: {gate: replicas, reference_batch: 256, replicas_feed: all}\n",
        ),
        ["reference_batch is 256", "global batch of 128", "leave replicas_feed out"],
    ),
    "a feed without effect": (
        sweep(candidates="candidates:\n  thermolion: {gate: local, replicas_feed: all}\n"),
        ["line 4", "replicas_feed is 'all'", "gate is 'local'", "gate: replicas"],
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_candidate_is_one_clear_error_and_nothing_is_started(
    case, verb, thermolion, tmp_path
):
    assert_refused(thermolion, verb, tmp_path / "bad.yaml", *CASES[case])
