"""A proxy: tuning trains a cheaper workload, and the comparison the whole one."""

from pathlib import Path

from imagined_study import ImaginedStudy
from tuned_sweeps import IMAGES, own, plan, rates_by_search, score

from jobs.contract.trial import Trial
from orchestrator.results.conclude import StudyResults
from orchestrator.results.preregister import declare_analysis


def _place(trial: Trial) -> tuple[str, int]:
    return trial.candidate.name, trial.block


def test_a_proxy_is_what_tuning_trains_and_nothing_else(tmp_path: Path) -> None:
    proxy = "proxy: {epochs: 3, train_images: 500}"
    trials = plan(tmp_path, f"{IMAGES}tune: {{trials: 4, search: asha, {proxy}}}\n")
    assert {(one.images.epochs, one.images.train_images) for one in trials} == {(3, 500)}
    assert {one.rungs and one.rungs.at for one in trials} == {(1,)}  # of three epochs, not of nine
    whole = plan(tmp_path, f"{IMAGES}tune: {{trials: 4, search: asha}}\n")
    # Same points and seeds: what the proxy is of stays the same.
    assert [(one.candidate.key, dict(one.seeds)) for one in sorted(trials, key=_place)] == [
        (one.candidate.key, dict(one.seeds)) for one in sorted(whole, key=_place)
    ]
    rivals = [{one.rungs and one.rungs.competitors for one in of} for of in (trials, whole)]
    assert not rivals[0] & rivals[1]


def test_workloads_that_are_one_by_proxy_are_tuned_apart(tmp_path: Path) -> None:
    two = "[{name: short, DATA, epochs: 5}, {name: long, DATA, epochs: 9}]"
    two = two.replace("DATA", "dataset: digits, model: mlp, global_batch: 64")
    text = IMAGES.replace("[{dataset: digits, model: mlp, epochs: 9, global_batch: 64}]", two)
    trials = plan(tmp_path, f"{text}tune: {{trials: 4, repeats: 1, proxy: {{epochs: 2}}}}\n")
    assert len({one.id for one in trials}) == 2 * 2 * 4
    seeds = {one.workload.name: one.seeds["init"] for one in trials}
    assert seeds["short"] != seeds["long"]
    rates = rates_by_search(trials)
    assert rates["short", 0] != rates["long", 0]


def test_what_a_proxy_has_found_is_compared_on_the_whole_and_told(tmp_path: Path) -> None:
    study = ImaginedStudy(tmp_path, own(5, "widen: 0, proxy: {steps: 3}"), score)
    study.run()
    steps = {(one.phase, one.workload.steps) for one in study.study.trials}
    assert steps == {("tune", 3), ("compare", 9)}
    tuning = StudyResults.read(study.study).compare().tuning
    assert tuning is not None
    assert (tuning.proxy, tuning.repeats) == ("3 steps", 5)
    assert len(tuning.searched) == 2 * 2 * 5
    frozen = declare_analysis(study.study, {}).tuning
    assert frozen is not None
    assert frozen["proxy"] == {"steps": 3}
