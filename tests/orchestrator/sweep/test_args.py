"""Arguments of a script that are no hyperparameters: varied by a sweep, read by the script."""

import pytest
from refusals import VERBS, assert_refused, sweep

from jobs.contract.trial import Trial
from tracking.outcomes import read_outcomes

# A script in the form of argparse, which knows nothing of what the sweep leaves out.
SCRIPT = """\
import argparse
import thermolion

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--momentum", type=float)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--amp", action="store_true")
parser.add_argument("--warmup", type=int)
parser.add_argument("--milestones", type=int, nargs="*")
parser.add_argument("--seed", type=int, required=True)
args = parser.parse_args()
milestones = sum(args.milestones or [])
thermolion.log(1, read=args.lr + 1000 * args.batch_size + 100 * args.amp + 10 * milestones,
               absent=(args.momentum is None) + (args.warmup is None))
"""
SWEEP = """\
study: small
workloads:
  - name: w
    command: >-
      python train.py {--lr} {--momentum} {--warmup} {--batch-size} {--amp} {--milestones} {--seed}
    metric: read
candidates:
  adamw: {lr: 0.5, args: {batch-size: [32, 64]}}
  sgd: {lr: 0.5, momentum: 0.9, args: {amp: true, warmup: 2, milestones: [[3, 4]]}}
  plain: {optimizer: adamw, lr: 0.5, args: {amp: false, warmup: null}}
seeds: 1
"""


def _read(layout):
    """Return what each candidate's script has read, by name."""
    outcomes = read_outcomes(layout.events).values()
    return {o.trial.candidate.name: dict(o.curve[-1].metrics) for o in outcomes}


def test_each_candidate_gives_a_script_its_own_flags_and_leaves_out_what_is_absent(
    thermolion, small, layout, monkeypatch
):
    monkeypatch.chdir(small.parent)
    (small.parent / "train.py").write_text(SCRIPT)
    small.write_text(SWEEP)
    said = thermolion("run", small)
    assert said.code == 0, said.err
    assert _read(layout) == {
        "adamw[batch-size=32]": {"read": 32000.5, "absent": 2},
        "adamw[batch-size=64]": {"read": 64000.5, "absent": 2},
        "sgd": {"read": 16170.5, "absent": 0},
        "plain": {"read": 16000.5, "absent": 2},
    }
    plan = thermolion("plan", small).out
    assert "adamw[batch-size=64]: adamw(lr=0.5, batch-size=64)" in plan


def test_hydras_overrides_and_all_arguments_at_once(thermolion, small, layout, monkeypatch):
    monkeypatch.chdir(small.parent)
    (small.parent / "train.py").write_text(
        "import sys, thermolion\n"
        "said = sorted(sys.argv[1:])[:-1]\n"
        "want = ['+trainer=fast', 'layers=[64,64]', 'lr=0.5', 'model.width=32']\n"
        "thermolion.log(1, read=said == want)\n"
    )
    small.write_text(
        "study: small\n"
        "workloads:\n"
        "  - {name: w, metric: read, options: {trainer: fast},\n"
        "     command: 'python train.py {+trainer=} {lr=} {args=} zeed={seed}'}\n"
        "candidates:\n"
        "  adamw: {lr: 0.5, args: {model.width: 32, layers: [[64, 64]], gone: null}}\n"
        "seeds: 1\n"
    )
    said = thermolion("run", small)
    assert said.code == 0, said.err
    assert _read(layout) == {"adamw": {"read": 1}}


def test_a_function_finds_arguments_among_its_options_and_pairs_them_by_block(
    thermolion, small, layout, monkeypatch
):
    monkeypatch.chdir(small.parent)
    (small.parent / "mine.py").write_text(
        "def train(trial, context):\n"
        "    context.log(1, read=context.options['width'] + context.options['depth'])\n"
    )
    small.write_text(
        "study: small\n"
        'workloads: [{name: w, train: "mine:train", metric: read,\n'
        "  options: {width: 1, depth: 5}}]\n"
        "candidates:\n  usual: {optimizer: adamw}\n"
        "  wide: {optimizer: adamw, args: {width: [10, 20]}}\n"
        "baseline: usual\nseeds: 1\n"
    )
    said = thermolion("run", small)
    assert said.code == 0, said.err
    assert {name: read["read"] for name, read in _read(layout).items()} == {
        "usual": 6,
        "wide[width=10]": 15,
        "wide[width=20]": 25,
    }
    trials = [outcome.trial for outcome in read_outcomes(layout.events).values()]
    assert len({trial.seeds["init"] for trial in trials}) == 1
    assert all(Trial.from_json(trial.to_json()) == trial for trial in trials)


TUNED = """\
study: small
workloads:
  - name: w
    train: mine:train
    metric: val
    final_metric: score
candidates:
  mine: {optimizer: adamw, args: {depth: 7}}
  usual: {optimizer: adamw, lr: 0.1}
baseline: usual
tune:
  trials: 4
  repeats: 1
  widen: 0
  untuned: [usual]
  allow_unequal: true
  space:
    mine:
      lr: {log: [1e-3, 1e-1]}
      args: {width: {choice: [8, 16, 64]}, gain: {uniform: [0, 1]}}
seeds: 1
"""


def test_arguments_are_tuned_beside_hyperparameters(thermolion, small, layout, monkeypatch):
    monkeypatch.chdir(small.parent)
    (small.parent / "mine.py").write_text(
        "def train(trial, context):\n"
        "    val = context.options.get('width', 0) - context.hyperparameters['lr']\n"
        "    context.log(1, val=val, score=val)\n"
    )
    small.write_text(TUNED)
    said = thermolion("run", small)
    assert said.code == 0, said.err
    trials = [outcome.trial for outcome in read_outcomes(layout.events).values()]
    tuned = [one.candidate for one in trials if one.phase == "tune"]
    assert len(tuned) == 4
    assert all(set(one.args) == {"depth", "width", "gain"} for one in tuned)
    assert {one.args["width"] for one in tuned} <= {8, 16, 64}
    assert all(0 <= one.args["gain"] <= 1 and one.args["depth"] == 7 for one in tuned)
    best = max(tuned, key=lambda one: (one.args["width"], -one.hyperparameters["lr"]))
    (compared,) = [
        one.candidate for one in trials if one.phase == "compare" and one.candidate.args
    ]
    assert (compared.args, compared.hyperparameters) == (best.args, best.hyperparameters)
    report = (layout.folder / "report" / "report.html").read_text()
    assert "width one of 8, 16, 64" in report


MINE = 'workloads: [{name: w, command: "python t.py %s", metric: m}]\n'


def _sweep(command: str, candidates: str) -> str:
    return sweep(workloads=MINE % command, candidates=f"candidates:\n{candidates}")


CASES = {
    "an argument beside a known optimizer": (
        _sweep("{--lr} {--bs} {--seed}", "  adamw: {lr: 1e-3, bs: [32, 64]}\n"),
        ["line 4", "no hyperparameter 'bs'", "args: {bs: [32, 64]}"],
    ),
    "an argument that the command never uses": (
        _sweep("{--lr} {--seed}", "  adamw: {lr: 1e-3, args: {bs: 32}}\n"),
        ["line 4", "never uses 'bs'", "{--bs}", "{bs=}", "{args}"],
    ),
    "a misspelt argument": (
        _sweep("{--lr} {--wdith} {--seed}", "  adamw: {lr: 1e-3, args: {width: 3}}\n"),
        ["line 4", "'wdith'", "did you mean 'width'?"],
    ),
    "a value that one candidate lacks": (
        _sweep(
            "{--lr} --bs {bs} {--seed}",
            "  adamw: {lr: 1e-3, args: {bs: 32}}\n  adam: {lr: 1e-3}\n",
        ),
        ["line 5", "'adam'", "{bs} has no value here", "{--bs}", "options"],
    ),
    "an argument inside of a word": (
        _sweep("--a={--lr} {seed}", "  adamw: {lr: 1e-3}\n"),
        ["line 4", "{--lr} in '--a={--lr}'", "put spaces around it"],
    ),
    "an argument that is a hyperparameter": (
        _sweep("{--lr} {--seed}", "  adamw: {args: {lr: 1e-3}}\n"),
        ["line 4", "args.lr", "has 'lr' already"],
    ),
    "two arguments of one name": (
        _sweep("{args} {--seed}", "  adamw: {args: {batch-size: 3, batch_size: 4}}\n"),
        ["line 4", "has 'batch-size' already"],
    ),
    "an argument with its dashes": (
        _sweep("{args} {--seed}", "  adamw: {args: {--bs: 3}}\n"),
        ["line 4", "'--bs' is no name of an argument", "without dashes"],
    ),
    "an argument of a name of ours": (
        _sweep("{args} {--seed}", "  adamw: {args: {seed: 3}}\n"),
        ["line 4", "'seed' has the name of a placeholder of ours"],
    ),
    "a bad value inside of a list": (
        _sweep("{args} {--seed}", "  adamw: {args: {bs: [3, .inf]}}\n"),
        ["line 4", "bs is inf"],
    ),
    "arguments that are no mapping": (
        _sweep("{args} {--seed}", "  adamw: {args: [3]}\n"),
        ["line 4", "[3] is no mapping", "args: {bs: [32, 64]}"],
    ),
    "an empty list of an argument": (
        _sweep("{args} {--seed}", "  adamw: {args: {bs: []}}\n"),
        ["line 4", "bs", "empty"],
    ),
    "arguments that make one command": (
        _sweep(
            "{--lr} {--amp} {--seed}",
            "  adamw: {lr: 1e-3, args: {amp: false}}\n  other: {optimizer: adamw, lr: 1e-3}\n",
        ),
        ["line 5", "runs the same command for 'adamw' and 'other'"],
    ),
    "a tuned argument with a value of its own": (
        TUNED.replace("depth: 7", "width: 7"),
        ["line 8", "width of 'mine' is tuned"],
    ),
    "a tuned argument without a range": (
        TUNED.replace("{uniform: [0, 1]}", "3"),
        ["line 20", "tune.space.mine.args.gain", "3 is not a valid dict"],
    ),
    "a tuned argument that is a tuned hyperparameter": (
        TUNED.replace("gain:", "lr:"),
        ["line 18", "'lr' is here as an argument as well"],
    ),
    "arguments for images": (
        sweep(candidates="candidates:\n  adamw: {args: {bs: 32}}\n"),
        ["line 4", "adamw.args", "'digits' is image classification"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_arguments_are_refused_in_one_line(thermolion, small, case):
    text, expected = CASES[case]
    assert_refused(thermolion, VERBS[0], small, text, expected)
