"""Wrong input about recipes and the user's own training: exit code 2 and one clear message."""

import json

import pytest

IMAGES = "workloads: [{{dataset: digits, model: mlp, epochs: 4, {keys}}}]\n"
OWN = "workloads: [{{name: mine, metric: acc, {keys}}}]\n"
REST = "candidates:\n  adamw: {lr: 1e-3}\n  lion: {}\nseeds: 2\n"
RUN = "command: 'python t.py --opt {optimizer} --lr {lr} --seed {seed}'"


def _images(keys, rest=REST):
    return "study: s\n" + IMAGES.format(keys=keys) + rest


def _own(keys, rest=REST):
    return "study: s\n" + OWN.replace("{{", "{").replace("}}", "}").replace("{keys}", keys) + rest


CASES = {
    "unknown schedule": (
        _images("schedule: cosin"),
        ["'cosin'", "did you mean 'cosine'?", "linear"],
    ),
    "unknown field of a schedule": (
        _images("schedule: {cosine: {warmpu: 0.1}}"),
        ["'warmpu'", "did you mean 'warmup'?"],
    ),
    "a warm-up longer than the budget": (
        _images("schedule: {cosine: {warmup: 5ep}}"),
        ["warmup of schedule cosine is '5ep'", "4 declared"],
    ),
    "unknown precision": (
        _images("precision: fp8"),
        ["'fp8'", "did you mean 'fp32'?", "fp32, bf16, fp16"],
    ),
    "a norm of nothing": (_images("clip_norm: 0"), ["clip_norm", "greater than 0"]),
    "an average of nothing": (_images("ema: 1.0"), ["ema", "less than 1"]),
    "more parts than samples": (
        _images("global_batch: 4, accumulate: 8"),
        ["accumulate is 8", "global batch of 4"],
    ),
    "evaluations without a unit": (
        _images("evaluate: {every: 2}"),
        [
            "workloads.0.evaluate.every",
            "2 is no time between two evaluations",
            "1ep",
            "'50 steps'",
        ],
    ),
    "evaluations that are no mapping": (
        _images("evaluate: 1ep"),
        ["'1ep' is no mapping", "evaluate: {every: 1ep}"],
    ),
    "an unknown key of evaluations": (
        _images("evaluate: {sample: 200}"),
        ["unknown key 'sample'", "did you mean 'samples'?", "every"],
    ),
    "no images to evaluate": (_images("evaluate: {samples: 0}"), ["samples", "0 is not"]),
    "batches of nothing": (_images("evaluate: {batch: 0}"), ["batch", "0 is not"]),
    "evaluations after the end": (
        _images("evaluate: {every: 10ep}"),
        ["evaluate.every is 10ep", "trains 4 epochs", "at most 4ep"],
    ),
    "evaluations of a training of one's own": (
        _own("train: 'a:b', evaluate: {every: 1ep}"),
        ["unknown key 'evaluate'"],
    ),
    "unknown kind of parameter": (_images("no_decay: [biass]"), ["did you mean 'bias'?", "norm"]),
    "a target in percent": (_images("target: 90"), ["target", "less than 1"]),
    "a target beyond its unit": (
        _own("train: 'a:b', unit: fraction, target: 90"),
        ["target is 90", "a fraction lies between 0 and 1"],
    ),
    "a chance beyond its unit": (
        _own("train: 'a:b', unit: fraction, chance: 10"),
        ["chance is 10", "a fraction lies between 0 and 1"],
    ),
    "no duration": ("checkpoint: {every: soon}\n" + _images("ema: 0.9"), ["'soon'", "15min"]),
    "unknown checkpoint to keep": (
        "checkpoint: {keep: all}\n" + _images("ema: 0.9"),
        ["'all'", "last, best"],
    ),
    "two ways to train": (
        _own("train: 'a:b', command: python t.py"),
        ["`train` and `command`", "keep one"],
    ),
    "no function": (_own("train: my_lab.train"), ["'my_lab.train'", "module:function"]),
    "no metric": (
        _own("train: 'a:b'").replace("metric: acc, ", ""),
        ["workloads.0.metric", "the key is missing"],
    ),
    "a key of the other kind": (
        _own("train: 'a:b', epochs: 4"),
        ["unknown key 'epochs'", "options"],
    ),
    "an unknown placeholder": (
        _own("command: 'python t.py --lr {lrr} --seed {seed}'"),
        ["'lrr'", "did you mean 'lr'?", "workload 'mine'"],
    ),
    "a hyperparameter that goes nowhere": (
        _own("command: 'python t.py --opt {optimizer} --seed {seed}'"),
        ["never uses 'lr'", "no effect", "candidates.adamw"],
    ),
    "a seed that goes nowhere": (
        _own("command: 'python t.py --opt {optimizer} --lr {lr}'"),
        ["never uses 'seed'"],
    ),
    "candidates that come to the same": (
        _own("command: 'python t.py --lr {lr} --seed {seed}'", REST.replace("{}", "{lr: 1e-3}")),
        ["same command for 'adamw' and 'lion'", "{optimizer}"],
    ),
    "a free name beside images": (
        _images("ema: 0.9", REST.replace("lion", "lamb")),
        ["unknown optimizer 'lamb'"],
    ),
}


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_training_is_one_clear_error_and_nothing_is_started(
    case, verb, thermolion, tmp_path
):
    text, expected = CASES[case]
    sweep = tmp_path / "bad.yaml"
    sweep.write_text(text)
    said = thermolion(verb, sweep)
    assert said.code == 2, said
    assert len(said.err.strip().splitlines()) == 1
    for words in [str(sweep), *expected]:
        assert words in said.err, said.err
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("way", [RUN, "train: 'my_free:train'"])
def test_user_training_may_name_optimizers_that_only_it_knows(
    way, thermolion, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.py").write_text(
        "import sys, thermolion\nthermolion.log(1, acc=float(sys.argv[2] == 'lamb'))\n"
    )
    (tmp_path / "my_free.py").write_text(
        "def train(trial, context):\n"
        "    return {'acc': float(trial.candidate.optimizer == 'lamb')}\n"
    )
    sweep = tmp_path / "free.yaml"
    text = _own(way, REST.replace("lion: {}", "lamb: {lr: 2e-3}")).replace("seeds: 2", "seeds: 1")
    sweep.write_text(text)
    said = thermolion("run", sweep)
    assert said.code == 0, said.err
    trials = json.loads(thermolion("status", "s", "--json").out)["trials"]
    assert {t["candidate"]: t["metrics"]["acc"] for t in trials} == {"adamw": 0, "lamb": 1}


def test_asking_for_an_unknown_optimizer_in_user_code_names_the_choices(
    thermolion, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_asks.py").write_text("def train(trial, context):\n    context.optimizer([])\n")
    sweep = tmp_path / "free.yaml"
    sweep.write_text(_own("train: 'my_asks:train'", "candidates: {lamb: {}}\nseeds: 1\n"))
    said = thermolion("run", sweep)
    assert said.code == 1
    assert "no optimizer 'lamb' is known here: choose from thermolion, lion, adam" in said.err


@pytest.mark.parametrize("parameters", ["", "trial", "trial, context, more", "*, trial, context"])
def test_a_function_that_cannot_be_called_is_refused_before_anything_starts(
    parameters, thermolion, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_wrong.py").write_text(f"def train({parameters}):\n    pass\n")
    sweep = tmp_path / "wrong.yaml"
    sweep.write_text(_own("train: 'my_wrong:train'"))
    said = thermolion("submit", sweep)
    assert said.code == 2
    assert "my_wrong:train cannot be called as train(trial, context)" in said.err
    assert not list((tmp_path / "studies").glob("*/submissions/*"))


def test_no_default_of_ours_is_claimed_for_a_command_that_is_not_handed_it(thermolion, tmp_path):
    sweep = tmp_path / "own.yaml"
    sweep.write_text(_own(RUN, "candidates: {sgd: {lr: 0.1}}\nseeds: 1\n"))
    assert "sgd: sgd(lr=0.1)\n" in thermolion("plan", sweep).out
    trial = json.loads(thermolion("plan", sweep, "--json").out)["trials"][0]["id"]
    said = thermolion("trial", trial, "--study", sweep).out
    assert "lr" in said
    assert "momentum" not in said


def test_defaults_for_one_kind_of_workload_do_not_apply_to_the_other(thermolion, tmp_path):
    sweep = tmp_path / "both.yaml"
    sweep.write_text(
        "study: s\ndefaults: {epochs: 4, model: mlp, unit: fraction}\n"
        "workloads: [{dataset: digits}, {name: mine, train: 'a:b', metric: acc}]\n" + REST
    )
    said = thermolion("plan", sweep)
    assert said.code == 0, said.err


def test_how_results_are_read_takes_no_part_in_an_id(thermolion, tmp_path):
    sweep, ids = tmp_path / "own.yaml", []
    for more in ("", ", goal: min, unit: percent, chance: 10", ", name: other"):
        sweep.write_text(
            _own(RUN + more).replace("name: mine, ", "" if "name" in more else "name: mine, ")
        )
        planned = json.loads(thermolion("plan", sweep, "--json").out)["trials"]
        ids.append([trial["id"] for trial in planned])
    assert ids[0] == ids[1] == ids[2]
    sweep.write_text(_own(RUN + ", options: {width: 3}"))
    planned = json.loads(thermolion("plan", sweep, "--json").out)["trials"]
    assert not {trial["id"] for trial in planned} & set(ids[0])
