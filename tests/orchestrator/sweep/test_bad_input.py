"""Wrong input: exit code 2, one message with place, value, choices and nearest match."""

import pytest
from refusals import VERBS, assert_refused, sweep

CASES = {
    "unknown top-level key": (
        sweep(extra="seedz: 3\n"),
        ["line 7", "'seedz'", "did you mean 'seeds'?", "root_seed"],
    ),
    "baseline that is no candidate": (
        sweep(baseline="baseline: adam\n"),
        ["line 7", "'adam' is no candidate", "did you mean 'adamw'?", "lion"],
    ),
    "compared with itself": (
        sweep(compare="compare: {candidate: lion, against: [lion]}\n"),
        ["line 7", "'lion'", "itself"],
    ),
    "baseline and compare": (
        sweep(compare="compare: {candidate: lion}\n", baseline="baseline: adamw\n"),
        ["line 8", "keep one"],
    ),
    "empty seeds": (sweep(seeds="seeds: []\n"), ["line 6", "seeds", "empty"]),
    "zero seeds": (sweep(seeds="seeds: 0\n"), ["line 6", "0 seeds", "at least one"]),
    "repeated seeds": (sweep(seeds="seeds: [0, 1, 1]\n"), ["line 6", "block 1 is repeated"]),
    "negative seeds": (sweep(seeds="seeds: [0, -1]\n"), ["line 6", "-1 is negative"]),
    "no looks": (sweep(seeds="seeds: {looks: []}\n"), ["line 6", "has no looks"]),
    "falling looks": (sweep(seeds="seeds: {looks: [5, 3]}\n"), ["line 6", "rising", "[5, 3]"]),
    "a look at one seed": (sweep(seeds="seeds: {looks: [1, 3]}\n"), ["line 6", "two are the"]),
    "looks as text": (sweep(seeds="seeds: {looks: [few]}\n"), ["line 6", "'few'", "numbers"]),
    "an error budget of nothing": (
        sweep(extra="analysis: {alpha: 0}\n"),
        ["line 7", "analysis.alpha", "greater than 0"],
    ),
    "an unknown endpoint": (
        sweep(extra="analysis: {endpoints: [loss]}\n"),
        ["line 7", "analysis.endpoints", "'loss'", "final_test_accuracy"],
    ),
    "an endpoint without a goal": (
        sweep(
            workloads="workloads: [{name: lm, train: 'a:b', metric: loss, goal: min}]\n",
            extra="analysis: {endpoints: [{metric: top5}]}\n",
        ),
        ["line 7", "more or less of top5", "goal: max or goal: min"],
    ),
    "an endpoint of what images do not log": (
        sweep(extra="analysis: {endpoints: [{metric: test_los}]}\n"),
        ["line 7", "'test_los'", "did you mean 'test_loss'?", "val_loss"],
    ),
    "an area of what has no curve": (
        sweep(extra="analysis: {endpoints: [{metric: test_loss, measure: auc}]}\n"),
        ["line 7", "'test_loss' on its curve", "val_loss"],
    ),
    "an endpoint of nothing": (
        sweep(extra="analysis: {endpoints: [{goal: min}]}\n"),
        ["line 7", "nothing is measured", "{metric: test_loss, goal: min}"],
    ),
    "an unknown key of an endpoint": (
        sweep(extra="analysis: {endpoints: [{metric: test_loss, gaol: min}]}\n"),
        ["line 7", "unknown key 'gaol'", "did you mean 'goal'?"],
    ),
    "a last value over seconds": (
        sweep(extra="analysis: {endpoints: [{metric: test_loss, clock: seconds}]}\n"),
        ["line 7", "a last value has no clock", "measure: auc"],
    ),
    "a time to a target that nobody has": (
        sweep(extra="analysis: {endpoints: [steps_to_target]}\n"),
        ["line 7", "digits has no target", "`target:`", "pilot"],
    ),
    "a target past all accuracies": (
        sweep(extra="analysis: {endpoints: [{target: 90}]}\n"),
        ["line 7", "target", "90 of val_accuracy", "between 0 and 1"],
    ),
    "a chance past all accuracies": (
        sweep(extra="analysis: {endpoints: [{metric: test_accuracy, chance: 10}]}\n"),
        ["line 7", "chance", "10: a fraction lies between 0 and 1"],
    ),
    "a margin of a time below one": (
        sweep(extra="analysis: {endpoints: [{target: 0.9, margin: 0.05}]}\n"),
        ["line 7", "0.05", "a factor above 1, such as 1.05"],
    ),
    "one endpoint in two ways": (
        sweep(extra="analysis: {endpoints: [val_auc, {measure: auc, one_sided: true}]}\n"),
        ["line 7", "val_auc is declared twice"],
    ),
    "one side of every pair": (
        sweep(
            compare="compare: all\n",
            extra="analysis: {endpoints: [{measure: auc, one_sided: true}]}\n",
        ),
        ["one_sided", "asks about pairs", "candidate: NAME"],
    ),
    "one side of wins": (
        sweep(
            extra="analysis: {primary: win_probability, "
            "endpoints: [{measure: auc, one_sided: true}]}\n",
        ),
        ["line 7", "one_sided", "of both sides"],
    ),
    "a comparison that is neither of one nor of all": (
        sweep(compare="compare: {against: [lion]}\n"),
        ["compare", "{candidate: NAME}", "compare: all"],
    ),
    "a comparison by a name alone": (
        sweep(compare="compare: lion\n"),
        ["compare", "compare: {candidate: lion}", "compare: all"],
    ),
    "a metric by which images are not read": (
        sweep(extra="defaults: {metric: val_loss, goal: min}\n"),
        ["line 7", "'metric' is a key of your own training", "endpoints: [{metric: val_loss}]"],
    ),
    "a metric of one image workload": (
        sweep(
            workloads="workloads: [{dataset: digits, model: mlp, epochs: 1, metric: val_loss}]\n"
        ),
        ["line 2", "'metric' is a key of your own training", "endpoints: [{metric: val_loss}]"],
    ),
    "a misspelt name of limits": (
        sweep(extra="analysis: {limits: pocok}\n"),
        ["line 7", "analysis.limits", "'pocok' is unknown", "did you mean 'pocock'?"],
    ),
    "a margin of an unknown endpoint": (
        sweep(extra="analysis: {margins: {test_acc: 0.2}}\n"),
        ["line 7", "analysis.margins", "'test_acc'", "final_test_accuracy"],
    ),
    "a margin of nothing": (
        sweep(extra="analysis: {margins: {val_auc: 0}}\n"),
        ["line 7", "analysis.margins.val_auc", "greater than 0"],
    ),
    "a margin for two units": (
        sweep(
            workloads="workloads:\n  - {dataset: digits, model: mlp, epochs: 1}\n"
            "  - {name: lm, train: 'a:b', metric: loss, goal: min}\n",
            extra="analysis:\n  margins:\n    val_auc: 0.5\n",
        ),
        ["line 11", "analysis.margins.val_auc", "one unit", "pp on digits, loss on lm"],
    ),
    "wins on workloads of the same seeds": (
        sweep(
            workloads="workloads: {each: {ranks: [1, 2]}, dataset: digits, model: mlp, "
            "epochs: 1}\n",
            extra="analysis: {primary: win_probability}\n",
        ),
        ["'digits-mlp-1rank' and 'digits-mlp-2ranks' differ in ranks", "`primary: mean`"],
    ),
    "an unknown primary answer": (
        sweep(extra="analysis: {primary: median}\n"),
        ["line 7", "analysis.primary", "'median'", "win_probability"],
    ),
    "an unknown key of the analysis": (
        sweep(extra="analysis: {ropepp: 1}\n"),
        ["line 7", "'ropepp'", "did you mean 'rope_pp'?"],
    ),
    "seeds as text": (sweep(seeds="seeds: few\n"), ["line 6", "'few'", "number of seeds"]),
    "study that is no folder name": (
        sweep(head="study: ../x\n"),
        ["line 1", "'../x'", "letters"],
    ),
    "a study called like the store": (
        sweep(head="study: mlartifacts\n"),
        ["line 1", "'mlartifacts'", "MLflow store"],
    ),
    "too many seeds": (sweep(seeds="seeds: 1000000000\n"), ["line 6", "100000 is the most"]),
    "a key that is no text": (sweep(extra="1: 2\n"), ["line 7", "a key is not text"]),
    "a key that is a list": (sweep(extra="? [a]\n: 2\n"), ["line 7", "a key is not text"]),
    "a backend that is a list": (
        sweep(extra="backend: [local]\n"),
        ["line 7", "['local']", "choose from local"],
    ),
    "a tag that does not fit": (sweep(head="study: !!bool foo\n"), ["not valid YAML"]),
    "misspelt backend": (sweep(extra="backend: slrum\n"), ["line 7", "'slrum'", "local"]),
    "a time of no unit": (
        sweep(extra="resources: {time: 12}\n"),
        ["line 7", "12 is no duration", "s, min, h or d"],
    ),
    "memory of no size": (sweep(extra="resources: {mem: much}\n"), ["line 7", "'much'"]),
    "no trial on a GPU": (sweep(extra="pack: {trials_per_gpu: 0}\n"), ["line 7", "0 is not"]),
    "a cap of no hours": (sweep(extra="limits: {gpu_hours: 0}\n"), ["line 7", "0", "greater"]),
    "unreadable YAML": ("study: [s\nseeds: 1\n", ["line 2", "not valid YAML"]),
    "a key twice": (sweep(more="seeds: 3\n"), ["line 7", "'seeds' is here twice"]),
    "no mapping": ("- study\n", ["mapping", "list"]),
    "an empty file": ("", ["mapping", "empty"]),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_sweep_is_one_clear_error_and_nothing_is_started(case, verb, thermolion, tmp_path):
    assert_refused(thermolion, verb, tmp_path / "bad.yaml", *CASES[case])


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
