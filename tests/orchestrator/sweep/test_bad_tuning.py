"""What a sweep may not say of tuning: one clear error each, and nothing started."""

import pytest

HEAD = """\
study: bad
workloads: [{dataset: digits, model: mlp, epochs: 1}]
candidates: {adamw: {}, lion: {}}
seeds: 2
"""


def _tune(keys, **changes):
    text = HEAD + f"tune: {{{keys}}}\n"
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return text


CASES = {
    "an unknown hyperparameter": (
        _tune("trials: 4, space: {adamw: {lrr: {log: [1e-4, 1e-2]}}}"),
        ["'lrr' is no hyperparameter", "lr"],
    ),
    "an unknown candidate": (
        _tune("trials: 4, space: {adam: {lr: {log: [1e-4, 1e-2]}}}"),
        ["'adam' is no candidate", "adamw"],
    ),
    "no space": (_tune("trials: 4, space: {}"), ["the space is empty"]),
    "no space of one": (_tune("trials: 4, space: {lion: {}}"), ["the space is empty"]),
    "an empty range": (
        _tune("trials: 4, space: {adamw: {lr: {log: [1e-2, 1e-4]}}}"),
        ["[0.01, 0.0001] is empty", "[low, high]"],
    ),
    "a logarithm of nothing": (
        _tune("trials: 4, space: {adamw: {lr: {log: [0, 1e-2]}}}"),
        ["0 is not above 0"],
    ),
    "an illegal value": (
        _tune("trials: 4, space: {lion: {betas: {uniform: [0, 1]}, lr: {log: [1e-4, 1e-2]}}}"),
        ["betas is 0.0", "two numbers in [0, 1)"],
    ),
    "two kinds of range": (
        _tune("trials: 4, space: {adamw: {lr: {log: [1e-4, 1e-2], uniform: [0, 1]}}}"),
        ["2 of log, uniform, choice"],
    ),
    "only choices": (
        _tune("trials: 4, space: {adamw: {lr: {choice: [1e-4, 1e-2]}}}"),
        ["only choices", "one range at least"],
    ),
    "a budget of nothing": (_tune("trials: 0"), ["0 is not greater than or equal to 1"]),
    "no budget": (_tune("widen: 1"), ["trials", "missing"]),
    "unequal budgets": (
        _tune("trials: {adamw: 4, lion: 8}"),
        ["unequal budgets (adamw 4, lion 8)", "allow_unequal: true"],
    ),
    "an untuned one": (
        _tune("trials: 4, untuned: [lion]"),
        ["unequal budgets (adamw 4, lion 0)", "allow_unequal: true"],
    ),
    "a budget of one": (_tune("trials: {adamw: 4}"), ["lion has none", "every candidate"]),
    "an illegal pair in a round that may follow": (
        _tune(
            "trials: 4, untuned: [lion], allow_unequal: true, space: {sgd: {lr: {log: [1e-3, 1]}, "
            "momentum: {choice: [0.0, 0.9]}, nesterov: {choice: [false, true]}}}",
            own=("adamw: {}", "sgd: {}"),
        ),
        ["tuned, ", "nesterov"],
    ),
    "nobody": (_tune("trials: 4, untuned: [lion, adamw]"), ["all candidates", "take `tune` out"]),
    "a value of its own": (
        _tune("trials: 4", own=("adamw: {}", "adamw: {lr: 1e-3}")),
        ["lr of 'adamw' is tuned", "take it out here"],
    ),
    "an optimizer that nothing is published of": (
        _tune("trials: 4", own=("adamw: {}", 'adamw: {optimizer: "lab:Foo"}')),
        ["no published learning rate of 'adamw'", "write its `space`"],
    ),
    "no epoch to end after": (
        _tune("trials: 4, search: asha"),
        ["asha", "'digits' has 1 epochs: too few", "or write sobol"],
    ),
    "parts of a budget that is not known": (
        _tune(
            "trials: 4, search: asha",
            own=(
                "{dataset: digits, model: mlp, epochs: 1}",
                '{name: mine, train: "a:b", metric: val}',
            ),
        ),
        ["asha", "'mine' declares no `steps`", "or write sobol"],
    ),
    "rungs of several seeds": (
        _tune("trials: 4, search: asha, seeds: 3", split=("epochs: 1", "epochs: 9")),
        ["seeds: 3, and asha judges trials one by one", "search: sobol"],
    ),
    "more searches than blocks": (
        _tune("trials: 4, repeats: 3"),
        ["tune.repeats: 3 searches, and 2 blocks", "write up to 2, or more `seeds`"],
    ),
    "some searches under looks": (
        _tune("trials: 4, repeats: 3", looks=("seeds: 2", "seeds: {looks: [3, 5]}")),
        ["tune.repeats: 3 searches, and the last look has 5 seeds", "write 5", "write 1"],
    ),
    "a search that no block would use": (
        _tune("trials: 4, repeats: 2", seeds=("seeds: 2", "seeds: [0, 2, 4]")),
        ["2 searches", "the list [0, 2, 4]", "none has those of 1", "fewer `repeats`"],
    ),
    "a proxy of nothing": (
        _tune("trials: 4, proxy: {}"),
        ["tune.proxy: nothing is cheaper", "{epochs: 2}"],
    ),
    "a proxy that is as dear": (
        _tune("trials: 4, proxy: {epochs: 1}"),
        ["'digits' has 1 epochs itself", "or leave `proxy` out"],
    ),
    "a proxy that is dearer": (
        _tune("trials: 4, proxy: {epochs: 1, train_images: 5000}"),
        ["tune.proxy.train_images: 5000, and workload 'digits' has 1294"],
    ),
    "a proxy of another kind of workload": (
        _tune("trials: 4, proxy: {steps: 5}"),
        ["nothing is cheaper than workload 'digits'", "epochs or train_images"],
    ),
    "a key of a proxy that no workload has": (
        _tune("trials: 4, proxy: {train_images: 500, steps: 5}"),
        ["tune.proxy.steps: no workload is your own training"],
    ),
    "fewer steps than nobody knows": (
        _tune(
            "trials: 4, proxy: {steps: 5}",
            own=(
                "{dataset: digits, model: mlp, epochs: 1}",
                '{name: mine, train: "a:b", metric: val}',
            ),
        ),
        ["'mine' declares no `steps`", "declare them"],
    ),
    "fewer steps of a command that takes none": (
        _tune(
            "trials: 4, proxy: {steps: 5}",
            own=(
                "{dataset: digits, model: mlp, epochs: 1}",
                "{name: mine, command: 'train --lr {lr} --seed {seed}', steps: 9, metric: val}",
            ),
        ),
        ["the command of workload 'mine' does not use {steps}", "write it in"],
    ),
    "rungs of a proxy that is too short": (
        _tune(
            "trials: 4, search: asha, proxy: {epochs: 1}",
            split=("mlp, epochs: 1", "mlp, epochs: 9"),
        ),
        ["asha", "'digits' has 1 epochs: too few"],
    ),
    "no search": (_tune("trials: 4, repeats: 0"), ["0 is not greater than or equal to 1"]),
    "rungs without asha": (
        _tune("trials: 4, rungs: 3"),
        ["rungs is asha's", "search: asha"],
    ),
    "an unknown search": (_tune("trials: 4, search: grid"), ["'grid' is unknown", "sobol"]),
    "nothing held out": (
        _tune("trials: 4", split=("epochs: 1", "epochs: 1, split: replication")),
        ["split: replication", "validation data alone"],
    ),
    "test data": (
        _tune(
            "trials: 4",
            own=(
                "{dataset: digits, model: mlp, epochs: 1}",
                '{name: mine, train: "a:b", metric: test_acc}',
            ),
        ),
        ["'test_acc'", "validation data alone"],
    ),
    "other ranks of a training of one's own": (
        _tune(
            "trials: 4, ranks: 2",
            own=(
                "{dataset: digits, model: mlp, epochs: 1}",
                '{name: mine, train: "a:b", metric: val}',
            ),
        ),
        ["'mine'", "global batch is not known"],
    ),
    "other ranks of a gate that looks at them": (
        _tune("trials: 4, ranks: 2", own=("adamw: {}", "thermolion: {gate: local}")),
        ["'thermolion' has the gate 'local'", "leave `ranks` out"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_tuning_key_is_one_clear_error_and_nothing_is_started(case, thermolion, tmp_path):
    text, expected = CASES[case]
    sweep = tmp_path / "bad.yaml"
    sweep.write_text(text)
    said = thermolion("run", sweep)
    assert (said.code, said.out) == (2, "")
    assert len(said.err.strip().splitlines()) == 1
    for words in [str(sweep), *expected]:
        assert words in said.err, said.err
    assert not (tmp_path / "studies").exists()
