"""Wrong workloads: exit code 2, one message with place, value, choices and nearest match."""

import pytest
from refusals import VERBS, assert_refused, sweep, workload

CASES = {
    "unknown workload key": (
        sweep(workloads=workload(epoch=3)),
        ["line 6", "workloads.0.epoch", "did you mean 'epochs'?", "global_batch"],
    ),
    "unknown key in defaults": (
        sweep(defaults="defaults: {epochz: 3}\n"),
        ["line 7", "defaults.epochz", "did you mean 'epochs'?"],
    ),
    "misspelt dataset": (
        sweep(workloads=workload(dataset="fashion_mnits")),
        ["line 3", "'fashion_mnits'", "did you mean 'fashion_mnist'?", "digits"],
    ),
    "misspelt model": (
        sweep(workloads=workload(model="resnet81")),
        ["line 4", "'resnet81'", "did you mean 'resnet18'?", "convnet"],
    ),
    "unknown model option": (
        sweep(workloads=workload(model="{mlp: {hiden: [3]}}")),
        ["line 4", "'hiden'", "did you mean 'hidden'?"],
    ),
    "option of the wrong type": (
        sweep(workloads=workload(dataset="{synthetic: {difficulty: hard}}")),
        ["line 3", "difficulty", "'hard'", "number"],
    ),
    "option of a set without options": (
        sweep(workloads=workload(dataset="{digits: {size: 3}}")),
        ["line 3", "digits takes no options", "'size'"],
    ),
    "misspelt augmentation": (
        sweep(workloads=workload(augment="[hflipp]")),
        ["line 6", "'hflipp'", "did you mean 'hflip'?", "crop"],
    ),
    "zero epochs": (
        sweep(workloads=workload(epochs=0)),
        ["line 5", "workloads.0.epochs", "0 is not greater than or equal to 1"],
    ),
    "epochs as text": (
        sweep(workloads=workload(epochs="many")),
        ["line 5", "'many' is not a valid integer"],
    ),
    "zero epochs in defaults": (
        sweep(
            workloads="workloads: [{dataset: digits, model: mlp}]\n",
            defaults="defaults:\n  epochs: 0\n",
        ),
        ["line 8", "defaults.epochs", "0 is not greater than or equal to 1"],
    ),
    "missing epochs": (
        sweep(workloads="workloads: [{dataset: digits, model: mlp}]\n"),
        ["line 2", "workloads.0.epochs", "missing"],
    ),
    "no workloads": (sweep(workloads="workloads: []\n"), ["line 2", "no workloads"]),
    "each is no mapping of lists": (
        sweep(workloads="workloads: {each: {dataset: digits}, model: mlp, epochs: 1}\n"),
        ["line 2", "workloads.each", "lists"],
    ),
    "two workloads of equal content": (
        sweep(
            workloads="workloads:\n  - &w {dataset: digits, model: mlp, epochs: 1}\n  - *w\n",
        ),
        ["equal in content", "'digits-mlp'"],
    ),
    "more images than the set has": (
        sweep(workloads=workload(train_images=1_000_000)),
        ["line 3", "train_images is 1000000", "digits has 1294"],
    ),
    "difficulty out of range": (
        sweep(workloads=workload(dataset="{synthetic: {difficulty: 5}}")),
        ["line 3", "difficulty", "from 0 to 1"],
    ),
    "no layers": (
        sweep(workloads=workload(model="{mlp: {hidden: [-3]}}")),
        ["line 4", "hidden", "[-3]"],
    ),
    "no limit of divergence": (
        sweep(workloads=workload(diverged="{metric: val_loss}")),
        ["line 6", "workloads.0.diverged", "write {above: 20}"],
    ),
    "limits that leave nothing": (
        sweep(workloads=workload(diverged="{above: 1, below: 2}")),
        ["line 6", "workloads.0.diverged", "no value is within"],
    ),
    "a limit of a metric that images do not have": (
        sweep(workloads=workload(diverged="{above: 1, metric: val_los}")),
        ["line 3", "'val_los'", "did you mean 'val_loss'?", "train_loss"],
    ),
    "an alias to itself": (
        sweep(workloads="workloads: &w [*w]\n"),
        ["holds itself"],
    ),
    "an option that is not finite": (
        sweep(workloads=workload(dataset="{'my:Set': {scale: .nan}}")),
        ["line 3", "scale is nan", "finite"],
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_workload_is_one_clear_error_and_nothing_is_started(
    case, verb, thermolion, tmp_path
):
    assert_refused(thermolion, verb, tmp_path / "bad.yaml", *CASES[case])
