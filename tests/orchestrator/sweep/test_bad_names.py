"""Names that other tools have for the same thing, and keys in the wrong part of the file."""

import pytest
from refusals import assert_refused, sweep, workload

OWN = "workloads: [{{name: mine, metric: acc, {}}}]\n"
COMMAND = "command: 'python t.py --lr {lr} --seed {seed}'"


def _own(keys, candidates="candidates:\n  adamw: {lr: 1e-3}\n"):
    return sweep(workloads=OWN.format(keys), candidates=candidates)


def _candidate(keys):
    return sweep(candidates=f"candidates:\n  adamw: {{{keys}}}\n")


CASES = {
    "the learning rate by its long name": (
        _candidate("learning_rate: 1e-3"),
        ["line 4", "'learning_rate'", "did you mean 'lr'?", "weight_decay"],
    ),
    "with a dash": (_candidate("weight-decay: 0.1"), ["did you mean 'weight_decay'?"]),
    "one of two betas": (_candidate("beta1: 0.9"), ["did you mean 'betas'?"]),
    "an optimizer in capitals": (
        sweep(candidates="candidates:\n  AdamW: {}\n"),
        ["line 4", "'AdamW'", "did you mean 'adamw'?"],
    ),
    "the batch of a candidate": (
        _candidate("batch_size: [32, 64]"),
        ["line 4", "'global_batch' is a key of workloads", "defaults: {global_batch: …}"],
    ),
    "the seed of a candidate": (_candidate("seed: 1"), ["line 4", "seeds: 5"]),
    "the batch of images": (
        sweep(workloads=workload(batch_size=64)),
        ["line 6", "did you mean 'global_batch'?"],
    ),
    "the epochs of another tool": (
        sweep(workloads=workload(num_train_epochs=3)),
        ["did you mean 'epochs'?"],
    ),
    "a learning rate of images": (
        sweep(workloads=workload(learning_rate="1e-3")),
        ["line 6", "'lr' is a hyperparameter", "candidates: {adamw: {lr: …}}"],
    ),
    "a learning rate of a command": (
        _own(f"{COMMAND}, lr: 1e-3"),
        ["line 2", "'lr' is a hyperparameter", "candidates: {adamw: {lr: …}}"],
    ),
    "the batch of a command": (
        _own(f"{COMMAND}, batch_size: 64"),
        ["line 2", "options: {batch_size: …}", "--batch_size {batch_size}", "metric"],
    ),
    "a placeholder by its long name": (
        _own("command: 'python t.py --lr {learning_rate} --seed {seed}'"),
        ["'learning_rate'", "did you mean 'lr'?"],
    ),
    "a placeholder of an option that is there": (
        _own(f"{COMMAND[:-1]} --bs {{bs}}', options: {{batch_size: 64}}"),
        ["'bs'", "did you mean 'batch_size'?"],
    ),
    "a hyperparameter outside of candidates": (
        sweep(baseline="learning_rate: 1e-3\n"),
        ["line 7", "'lr' is a hyperparameter"],
    ),
    "a key of workloads outside of them": (
        sweep(baseline="batch_size: 64\n"),
        ["line 7", "'global_batch' is a key of workloads"],
    ),
    "resources outside of resources": (
        sweep(baseline="gpus: 2\n"),
        ["line 7", "resources: {gpus_per_node: …}"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_name_of_another_tool_is_answered_with_ours_and_its_place(case, thermolion, tmp_path):
    assert_refused(thermolion, "plan", tmp_path / "bad.yaml", *CASES[case])
