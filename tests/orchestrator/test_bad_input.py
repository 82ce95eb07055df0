"""Wrong input: exit code 2, one message with place, value, choices and nearest match."""

import pytest

HEAD = "study: s\n"
WORKLOADS = "workloads: [{dataset: digits, model: mlp, epochs: 1}]\n"
CANDIDATES = "candidates:\n  adamw: {lr: 1e-3}\n  lion: {}\n"
SEEDS = "seeds: 2\n"


def _sweep(**parts: str) -> str:
    whole = {"head": HEAD, "workloads": WORKLOADS, "candidates": CANDIDATES, "seeds": SEEDS}
    return "".join((whole | parts).values())


def _workload(**keys: object) -> str:
    inside = {"dataset": "digits", "model": "mlp", "epochs": 1} | keys
    return "workloads:\n  - " + "\n    ".join(f"{k}: {v}" for k, v in inside.items()) + "\n"


CASES = {
    "unknown top-level key": (
        _sweep(extra="seedz: 3\n"),
        ["line 7", "'seedz'", "did you mean 'seeds'?", "root_seed"],
    ),
    "unknown workload key": (
        _sweep(workloads=_workload(epoch=3)),
        ["line 6", "workloads.0.epoch", "did you mean 'epochs'?", "global_batch"],
    ),
    "unknown key in defaults": (
        _sweep(defaults="defaults: {epochz: 3}\n"),
        ["line 7", "defaults.epochz", "did you mean 'epochs'?"],
    ),
    "misspelt optimizer": (
        _sweep(candidates="candidates:\n  admw: {}\n"),
        ["line 4", "'admw'", "did you mean 'adam", "thermolion, lion", "module:Class"],
    ),
    "misspelt optimizer key": (
        _sweep(candidates="candidates:\n  mine: {optimizer: termolion}\n"),
        ["line 4", "'termolion'", "did you mean 'thermolion'?"],
    ),
    "misspelt dataset": (
        _sweep(workloads=_workload(dataset="fashion_mnits")),
        ["line 3", "'fashion_mnits'", "did you mean 'fashion_mnist'?", "digits"],
    ),
    "misspelt model": (
        _sweep(workloads=_workload(model="resnet81")),
        ["line 4", "'resnet81'", "did you mean 'resnet18'?", "convnet"],
    ),
    "unknown model option": (
        _sweep(workloads=_workload(model="{mlp: {hiden: [3]}}")),
        ["line 4", "'hiden'", "did you mean 'hidden'?"],
    ),
    "option of the wrong type": (
        _sweep(workloads=_workload(dataset="{synthetic: {difficulty: hard}}")),
        ["line 3", "difficulty", "'hard'", "number"],
    ),
    "option of a set without options": (
        _sweep(workloads=_workload(dataset="{digits: {size: 3}}")),
        ["line 3", "digits takes no options", "'size'"],
    ),
    "misspelt augmentation": (
        _sweep(workloads=_workload(augment="[hflipp]")),
        ["line 6", "'hflipp'", "did you mean 'hflip'?", "crop"],
    ),
    "unknown hyperparameter": (
        _sweep(candidates="candidates:\n  adamw:\n    lr: 1e-3\n    bates: [0.9, 0.99]\n"),
        ["line 6", "candidates.adamw.bates", "did you mean 'betas'?", "weight_decay"],
    ),
    "negative lr": (
        _sweep(candidates="candidates:\n  adamw: {lr: -1e-3}\n"),
        ["line 4", "lr is -0.001", "0 or more"],
    ),
    "NaN lr": (
        _sweep(candidates="candidates:\n  adamw: {lr: .nan}\n"),
        ["line 4", "lr is nan", "finite"],
    ),
    "lr as text": (
        _sweep(candidates="candidates:\n  adamw: {lr: high}\n"),
        ["line 4", "lr is 'high'", "finite number"],
    ),
    "bad lr inside a grid": (
        _sweep(candidates="candidates:\n  adamw: {lr: [1e-3, -1]}\n"),
        ["line 4", "lr is -1", "0 or more"],
    ),
    "empty grid": (
        _sweep(candidates="candidates:\n  adamw: {lr: []}\n"),
        ["line 4", "candidates.adamw.lr", "empty"],
    ),
    "betas of the wrong length": (
        _sweep(candidates="candidates:\n  adamw: {betas: [0.9]}\n"),
        ["line 4", "betas is [0.9]", "two numbers in [0, 1)"],
    ),
    "zero epochs": (
        _sweep(workloads=_workload(epochs=0)),
        ["line 5", "workloads.0.epochs", "0 is not greater than or equal to 1"],
    ),
    "epochs as text": (
        _sweep(workloads=_workload(epochs="many")),
        ["line 5", "'many' is not a valid integer"],
    ),
    "zero epochs in defaults": (
        _sweep(
            workloads="workloads: [{dataset: digits, model: mlp}]\n",
            defaults="defaults:\n  epochs: 0\n",
        ),
        ["line 8", "defaults.epochs", "0 is not greater than or equal to 1"],
    ),
    "missing epochs": (
        _sweep(workloads="workloads: [{dataset: digits, model: mlp}]\n"),
        ["line 2", "workloads.0.epochs", "missing"],
    ),
    "no workloads": (_sweep(workloads="workloads: []\n"), ["line 2", "no workloads"]),
    "each is no mapping of lists": (
        _sweep(workloads="workloads: {each: {dataset: digits}, model: mlp, epochs: 1}\n"),
        ["line 2", "workloads.each", "lists"],
    ),
    "two workloads of equal content": (
        _sweep(
            workloads="workloads:\n  - &w {dataset: digits, model: mlp, epochs: 1}\n  - *w\n",
        ),
        ["equal in content", "'digits-mlp'"],
    ),
    "baseline that is no candidate": (
        _sweep(baseline="baseline: adam\n"),
        ["line 7", "'adam' is no candidate", "did you mean 'adamw'?", "lion"],
    ),
    "baseline that is a grid": (
        _sweep(
            candidates="candidates:\n  adamw: {lr: [1e-3, 3e-4]}\n  lion: {}\n",
            baseline="baseline: adamw\n",
        ),
        ["line 7", "grid of 2", "adamw[lr=0.001]", "adamw[lr=0.0003]"],
    ),
    "compared with itself": (
        _sweep(compare="compare: {candidate: lion, against: [lion]}\n"),
        ["line 7", "'lion'", "itself"],
    ),
    "baseline and compare": (
        _sweep(compare="compare: {candidate: lion}\n", baseline="baseline: adamw\n"),
        ["line 8", "keep one"],
    ),
    "two candidates of equal content": (
        _sweep(candidates="candidates:\n  adamw: {}\n  again: {optimizer: adamw, lr: 1e-3}\n"),
        ["line 5", "'again' and 'adamw' are equal in content", "replica"],
    ),
    "no candidates": (
        _sweep(candidates="candidates: {}\n"),
        ["line 3", "no candidates"],
    ),
    "empty seeds": (_sweep(seeds="seeds: []\n"), ["line 6", "seeds", "empty"]),
    "zero seeds": (_sweep(seeds="seeds: 0\n"), ["line 6", "0 seeds", "at least one"]),
    "repeated seeds": (_sweep(seeds="seeds: [0, 1, 1]\n"), ["line 6", "block 1 is repeated"]),
    "negative seeds": (_sweep(seeds="seeds: [0, -1]\n"), ["line 6", "-1 is negative"]),
    "no looks": (_sweep(seeds="seeds: {looks: []}\n"), ["line 6", "has no looks"]),
    "falling looks": (_sweep(seeds="seeds: {looks: [5, 3]}\n"), ["line 6", "rising", "[5, 3]"]),
    "a look at one seed": (_sweep(seeds="seeds: {looks: [1, 3]}\n"), ["line 6", "two are the"]),
    "looks as text": (_sweep(seeds="seeds: {looks: [few]}\n"), ["line 6", "'few'", "numbers"]),
    "an error budget of nothing": (
        _sweep(extra="analysis: {alpha: 0}\n"),
        ["line 7", "analysis.alpha", "greater than 0"],
    ),
    "an unknown endpoint": (
        _sweep(extra="analysis: {endpoints: [loss]}\n"),
        ["line 7", "analysis.endpoints", "'loss'", "final_test_accuracy"],
    ),
    "an unknown key of the analysis": (
        _sweep(extra="analysis: {ropepp: 1}\n"),
        ["line 7", "'ropepp'", "did you mean 'rope_pp'?"],
    ),
    "seeds as text": (_sweep(seeds="seeds: few\n"), ["line 6", "'few'", "number of seeds"]),
    "study that is no folder name": (
        _sweep(head="study: ../x\n"),
        ["line 1", "'../x'", "letters"],
    ),
    "a study called like the store": (
        _sweep(head="study: mlartifacts\n"),
        ["line 1", "'mlartifacts'", "MLflow store"],
    ),
    "two candidates of one name": (
        _sweep(
            candidates="candidates:\n  adamw: {lr: [0.1, 0.2]}\n"
            "  adamw[lr=0.1]: {optimizer: adam}\n"
        ),
        ["line 5", "two candidates are called 'adamw[lr=0.1]'"],
    ),
    "a candidate's name with a line break": (
        _sweep(candidates='candidates:\n  "a\\nb": {optimizer: adam}\n'),
        ["line 3", "printable"],
    ),
    "more images than the set has": (
        _sweep(workloads=_workload(train_images=1_000_000)),
        ["line 3", "train_images is 1000000", "digits has 1294"],
    ),
    "difficulty out of range": (
        _sweep(workloads=_workload(dataset="{synthetic: {difficulty: 5}}")),
        ["line 3", "difficulty", "from 0 to 1"],
    ),
    "no layers": (
        _sweep(workloads=_workload(model="{mlp: {hidden: [-3]}}")),
        ["line 4", "hidden", "[-3]"],
    ),
    "too many seeds": (_sweep(seeds="seeds: 1000000000\n"), ["line 6", "100000 is the most"]),
    "a number too large for any float": (
        _sweep(candidates="candidates:\n  adamw: {lr: 1" + "0" * 400 + "}\n"),
        ["line 4", "401 digits", "finite"],
    ),
    "a key that is no text": (_sweep(extra="1: 2\n"), ["line 7", "a key is not text"]),
    "a key that is a list": (_sweep(extra="? [a]\n: 2\n"), ["line 7", "a key is not text"]),
    "an alias to itself": (
        _sweep(workloads="workloads: &w [*w]\n"),
        ["holds itself"],
    ),
    "an option that is not finite": (
        _sweep(workloads=_workload(dataset="{'my:Set': {scale: .nan}}")),
        ["line 3", "scale is nan", "finite"],
    ),
    "a backend that is a list": (
        _sweep(extra="backend: [local]\n"),
        ["line 7", "['local']", "choose from local"],
    ),
    "a tag that does not fit": (_sweep(head="study: !!bool foo\n"), ["not valid YAML"]),
    "a date by tag": (
        _sweep(candidates="candidates:\n  m: {optimizer: 'a:B', x: !!timestamp 2024-01-01}\n"),
        ["text, numbers, true and false"],
    ),
    "a nested number that is not finite": (
        _sweep(candidates="candidates:\n  m: {optimizer: 'a:B', x: {y: .nan}}\n"),
        ["line 4", "finite number"],
    ),
    "an unknown gate": (
        _sweep(candidates="candidates:\n  thermolion: {gate: mine}\n"),
        ["line 4", "gate is 'mine'", "averaged, replicas, local"],
    ),
    "a reference batch of no samples": (
        _sweep(candidates="candidates:\n  thermolion: {gate: replicas, reference_batch: 0}\n"),
        ["line 4", "reference_batch is 0", "whole number of samples, 1 or more"],
    ),
    "a reference batch without effect": (
        _sweep(candidates="candidates:\n  thermolion: {reference_batch: 128}\n"),
        ["line 4", "reference_batch is 128", "gate is 'averaged'", "gate: replicas"],
    ),
    "a reference batch that one rank cannot give": (
        _sweep(candidates="candidates:\n  thermolion: {gate: replicas, reference_batch: 32}\n"),
        ["line 4", "reference_batch is 32", "global batch of 128 on one rank", "ranks: 2"],
    ),
    "a feed without effect": (
        _sweep(candidates="candidates:\n  thermolion: {gate: local, replicas_feed: all}\n"),
        ["line 4", "replicas_feed is 'all'", "gate is 'local'", "gate: replicas"],
    ),
    "misspelt backend": (_sweep(extra="backend: slrum\n"), ["line 7", "'slrum'", "local"]),
    "a time of no unit": (
        _sweep(extra="resources: {time: 12}\n"),
        ["line 7", "12 is no duration", "s, min, h or d"],
    ),
    "memory of no size": (_sweep(extra="resources: {mem: much}\n"), ["line 7", "'much'"]),
    "no trial on a GPU": (_sweep(extra="pack: {trials_per_gpu: 0}\n"), ["line 7", "0 is not"]),
    "unreadable YAML": ("study: [s\nseeds: 1\n", ["line 2", "not valid YAML"]),
    "a key twice": (_sweep(more="seeds: 3\n"), ["line 7", "'seeds' is here twice"]),
    "no mapping": ("- study\n", ["mapping", "list"]),
    "an empty file": ("", ["mapping", "empty"]),
}

LATER = {
    "tune": _sweep(extra="tune: {trials: 3}\n"),
    "gpu_hours": _sweep(extra="limits: {gpu_hours: 5}\n"),
}


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize("case", CASES)
def test_one_clear_error_and_nothing_started(case, verb, thermolion, tmp_path):
    text, expected = CASES[case]
    sweep = tmp_path / "bad.yaml"
    sweep.write_text(text)
    said = thermolion(verb, sweep)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    for words in [str(sweep), *expected]:
        assert words in said.err, said.err
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("key", LATER)
def test_keys_of_later_versions_are_refused_as_not_available_yet(key, thermolion, tmp_path):
    sweep = tmp_path / "later.yaml"
    sweep.write_text(LATER[key])
    said = thermolion("plan", sweep)
    assert said.code == 2
    assert "not available yet" in said.err
    assert key in said.err


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("candidates.adamw.lr=-1", ["--set candidates.adamw.lr=-1", "lr is -1", "0 or more"]),
        ("workloads.3.epochs=1", ["workloads", "list of 1", "3"]),
        ("study.name=x", ["study", "nothing can be set below it"]),
        ("seeds", ["--set seeds", "key.subkey=value"]),
        ("seeds=[1", ["--set seeds=[1", "not valid YAML"]),
        ("seeds.\u00b2=1", ["--set seeds.\u00b2=1"]),
        ("candidates.z=&a {x: *a}", ["--set candidates.z", "not valid YAML"]),
        ("sedes=3", ["--set sedes=3", "did you mean 'seeds'?"]),
    ],
)
def test_a_bad_override_is_named(override, expected, thermolion, small):
    said = thermolion("plan", small, "--set", override)
    assert said.code == 2
    for words in expected:
        assert words in said.err, said.err
