"""Runs of other tools that don't pair by themselves: divergences, lengths, repeats, seeds."""

import csv
import json
import math
from pathlib import Path

import pytest
from scipy import stats

LION = [0.912, 0.9085, 0.914, 0.9105, 0.913, 0.9125]
ADAMW = [0.907, 0.906, 0.9095, 0.909, 0.9065, 0.908]
NOT_FINITE = [math.nan, math.inf, -math.inf]


class Sheet:
    """A table of runs, a row a point, and what is asked about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, object]] = []

    def log(self, params, curve, status="FINISHED"):
        name = "-".join(map(str, params.values()))
        again = sum(row["run"].startswith(name) and row["step"] == 0 for row in self.rows)
        run = {"run": f"{name} ({again})" if again else name, "status": status}
        self.rows += [params | run | {"step": at, "val_acc": v} for at, v in enumerate(curve)]

    def ask(self, *more):
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        return (
            *("compare", "--csv", self.path, "--step", "step", "--run", "run"),
            *("--candidate", "optimizer", "--seed", "seed", "--metric", "val_acc", *more),
        )


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    """An empty table."""
    return Sheet(tmp_path / "nlp.csv")


def log_pairs(store, lion=LION, adamw=ADAMW, **params):
    for seed, finals in enumerate(zip(lion, adamw, strict=True)):
        for optimizer, final in zip(("lion", "adamw"), finals, strict=True):
            curve = final if isinstance(final, list) else [0.1, 0.5, final]
            store.log({"optimizer": optimizer, "seed": seed} | params, curve)


def answers(said):
    assert said.code == 0, said.err
    return json.loads(said.out)["pooled"]


def test_it_is_headed_exploratory(sheet, thermolion, tmp_path):
    log_pairs(sheet)
    said = thermolion(*sheet.ask("--baseline", "adamw", "--report", tmp_path / "page"))
    assert said.out.startswith("Exploratory: no analysis was frozen before these trials")
    html = (tmp_path / "page" / "report.html").read_text()
    assert '<h2 id="verdict">Exploratory</h2>' in html


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_a_candidate_whose_seed_ended_in_nan_does_not_win(sheet, thermolion, value, status):
    log_pairs(sheet, LION[1:], ADAMW[1:])
    for optimizer, final in (("lion", value), ("adamw", 0.907)):
        ending = status if optimizer == "lion" else "FINISHED"
        sheet.log({"optimizer": optimizer, "seed": 9}, [0.1, 0.5, final], ending)
    said = thermolion(*sheet.ask("--baseline", "adamw"))
    assert said.code == 0, said.err
    assert "undecided in final val_acc" in said.out
    assert "1 run (lion-9) diverged" in said.out
    assert "--chance X counts it as X" in said.out
    said = thermolion(*sheet.ask("--baseline", "adamw", "--json"))
    final, _ = answers(said)
    counted = {one["candidate"]: one["diverged"] for one in json.loads(said.out)["summaries"]}
    assert counted == {"lion": 1, "adamw": 0}
    expected = stats.ttest_rel(LION[1:], ADAMW[1:])
    assert final["estimate"]["p"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert final["verdict"] == "undecided"  # by the mean alone it would be better
    assert expected.pvalue < 0.025
    final, _ = answers(thermolion(*sheet.ask("--baseline", "adamw", "--json", "--chance", "0.1")))
    with_chance = stats.ttest_rel([*LION[1:], 0.1], [*ADAMW[1:], 0.907])
    assert final["estimate"]["p"] == pytest.approx(with_chance.pvalue, rel=1e-9)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_value_in_mid_curve_that_is_not_finite_costs_that_curve_alone(
    sheet, thermolion, tmp_path, value
):
    log_pairs(sheet, [[0.1, value if seed == 2 else 0.5, v] for seed, v in enumerate(LION)])
    asked = sheet.ask("--baseline", "adamw", "--target", "0.91", "--report", tmp_path / "page")
    final, speed = answers(thermolion(*asked, "--json"))
    assert final["verdict"] == "better"
    assert final["estimate"]["p"] == pytest.approx(stats.ttest_rel(LION, ADAMW).pvalue, rel=1e-9)
    assert (final["estimate"]["n"], speed["estimate"]["n"]) == (6, 5)
    html = (tmp_path / "page" / "report.html").read_text()
    assert f"lion: val_acc is {value} at step 1" in html


def test_a_run_that_ended_early_is_left_out_by_name_and_its_side_does_not_win(sheet, thermolion):
    log_pairs(sheet, [[0.1, v] if seed == 3 else [0.1, 0.5, v] for seed, v in enumerate(LION)])
    said = thermolion(*sheet.ask("--baseline", "adamw"))
    assert "1 run of nlp ended elsewhere than at step 2" in said.out
    assert "(lion, seed 3: 1): --any-length" in said.out
    assert "nlp, block 3: lion failed (ended at step 1, not 2)" in said.out
    assert "undecided in final val_acc" in said.out
    final, _ = answers(thermolion(*sheet.ask("--baseline", "adamw", "--any-length", "--json")))
    assert (final["verdict"], final["estimate"]["n"]) == ("better", 6)


def test_an_arm_with_twice_the_steps_is_refused_unless_a_step_is_named(sheet, thermolion):
    log_pairs(sheet, [[0.1, 0.5 + v / 10, v, v + 0.05] for v in LION])
    said = thermolion(*sheet.ask("--baseline", "adamw"))
    assert (said.code, said.out) == (2, "")
    assert "runs on nlp end at unlike steps (lion: 3; adamw: 2)" in said.err
    assert "--at-step 2 compares them there" in said.err
    final, speed = answers(thermolion(*sheet.ask("--baseline", "adamw", "--at-step", 2, "--json")))
    assert final["estimate"]["p"] == pytest.approx(stats.ttest_rel(LION, ADAMW).pvalue, rel=1e-9)
    assert speed["estimate"]["n"] == 6
    said = thermolion(*sheet.ask("--baseline", "adamw", "--any-length"))
    assert "Runs on nlp end at unlike steps (lion: 3; adamw: 2)" in said.out


def test_at_a_step_a_run_that_failed_later_is_complete(sheet, thermolion):
    log_pairs(sheet, LION[:5], ADAMW[:5])
    for optimizer in ("lion", "adamw"):
        curve = [0.1, 0.5, 0.9, math.nan]
        sheet.log({"optimizer": optimizer, "seed": 5}, curve, "FAILED")
    final, _ = answers(thermolion(*sheet.ask("--at-step", 2, "--baseline", "adamw", "--json")))
    assert final["estimate"]["n"] == 6
    said = thermolion(*sheet.ask("--at-step", 2, "--final-metric", "test"))
    assert said.code == 2
    assert "leave out --final-metric" in said.err


def test_a_run_that_has_not_come_to_the_step_is_left_out_and_a_step_that_none_reached_is_refused(
    sheet, thermolion
):
    log_pairs(sheet, [[0.1, v] if seed == 3 else [0.1, 0.5, v] for seed, v in enumerate(LION)])
    said = thermolion(*sheet.ask("--baseline", "adamw", "--at-step", 2))
    assert "nlp, block 3: lion failed (ended at step 1, before step 2)" in said.out
    assert "undecided in final val_acc" in said.out
    said = thermolion(*sheet.ask("--at-step", 9))
    assert (said.code, said.out) == (2, "")
    assert "no run of" in said.err
    assert "has come so far, the furthest is at 2" in said.err


def test_a_field_without_a_name_is_one_that_is_missing(sheet, thermolion):
    log_pairs(sheet)
    said = thermolion(*sheet.ask("--candidate", ","))
    assert said.code == 2
    assert "--candidate to be named as well" in said.err


def test_settings_that_vary_inside_a_candidate_are_named_with_the_way_out(store, thermolion):
    for seed, (ours, theirs) in enumerate(zip(LION, ADAMW, strict=True)):
        lr = {"lr": "0.001" if seed < 3 else "3e-4", "data_seed": 7 * seed, "out": f"/runs/{ours}"}
        store.log({"optimizer": "lion", "seed": seed} | lr, [0.1, ours])
        store.log({"optimizer": "adamw", "seed": seed} | lr | {"lr": "1e-3"}, [0.1, theirs])
    said = thermolion(*store.ask())
    assert said.code == 0, said.err
    assert "params.lr varies inside lion (lion: params.lr 0.001, 0.0003)" in said.out
    assert "--candidate params.optimizer,params.lr tells them apart" in said.out
    assert "data_seed" not in said.out
    assert "params.out" not in said.out


def test_a_candidate_is_named_by_several_fields(store, thermolion):
    for lr in ("1e-3", "3e-4"):
        log_pairs(store, [v + float(lr) for v in LION], lr=lr)
    store.log({"optimizer": "sgd", "seed": 0, "lr": "0.1", "momentum": "0.9"}, [0.1, 0.5, 0.9])
    fields = "params.optimizer, params.lr, params.momentum"
    asked = ("--candidate", fields, "--baseline", "adamw[lr=1e-3]", "--json")
    said = thermolion(*store.ask(*asked))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["candidates"] == [
        *("lion[lr=0.001]", "adamw[lr=0.001]", "lion[lr=0.0003]", "adamw[lr=0.0003]"),
        "sgd[lr=0.1, momentum=0.9]",
    ]
    assert found["questions"][0] == {
        "candidate": "adamw[lr=0.0003]",
        "baseline": "adamw[lr=0.001]",
    }


def test_two_finished_runs_of_a_seed_are_told_apart_by_what_differs(store, thermolion):
    log_pairs(store)
    store.log({"optimizer": "lion", "seed": 0, "lr": 0.1}, [0.1, 0.5, 0.5])
    said = thermolion(*store.ask("--baseline", "adamw"))
    assert (said.code, said.out) == (2, "")
    assert "lion on nlp, seed 0 has two finished runs" in said.err
    assert "They differ in params.lr (none, 0.1)" in said.err
    assert "--candidate params.optimizer,params.lr tells them apart" in said.err


@pytest.mark.parametrize(("which", "value"), [("first", LION[0]), ("last", 0.5)])
def test_of_several_finished_runs_of_a_seed_the_one_that_was_asked_for_counts(
    sheet, thermolion, which, value
):
    log_pairs(sheet)
    sheet.log({"optimizer": "lion", "seed": "0.0"}, [0.1, 0.5, 0.5])  # as tables spell it
    said = thermolion(*sheet.ask("--baseline", "adamw"))
    assert "--duplicates first (or last) keeps one of each" in said.err
    said = thermolion(*sheet.ask("--baseline", "adamw", "--duplicates", which, "--json"))
    final, _ = answers(said)
    expected = stats.ttest_rel([value, *LION[1:]], ADAMW)
    assert final["estimate"]["p"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert f"the {which} of each counts, 1 run left out" in said.out


def test_disjoint_seeds_are_refused_with_the_unpaired_comparison_as_the_way_out(
    sheet, thermolion, tmp_path
):
    ours, theirs = LION, [*ADAMW, 0.9]
    for seed, final in enumerate(ours):
        sheet.log({"optimizer": "lion", "seed": seed}, [0.1, 0.5, final])
    for seed, final in enumerate(theirs, 10):
        sheet.log({"optimizer": "adamw", "seed": seed}, [0.1, 0.5, final])
    said = thermolion(*sheet.ask("--baseline", "adamw"))
    assert (said.code, said.out) == (2, "")
    assert "lion and adamw have no seed in common (lion: 0-5; adamw: 10-16)" in said.err
    assert "--unpaired compares them without pairs" in said.err
    asked = sheet.ask("--baseline", "adamw", "--unpaired", "--report", tmp_path / "page")
    said = thermolion(*asked)
    assert said.code == 0, said.err
    assert "better (unpaired) in final val_acc" in said.out
    assert "6 runs against 7, without pairs (Welch's t test)" in said.out
    html = (tmp_path / "page" / "report.html").read_text()
    assert "0/6 vs 0/7" in html
    assert 'id="sensitivity"' not in html  # its tests take pairs
    final, speed = answers(thermolion(*asked, "--json"))
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    for name, value in (("p", expected.pvalue), ("df", expected.df), ("t", expected.statistic)):
        assert final["estimate"][name] == pytest.approx(value, rel=1e-9)
    assert final["estimate"]["low"] == pytest.approx(low, rel=1e-9)
    assert final["estimate"]["high"] == pytest.approx(high, rel=1e-9)
    assert (final["arms"], speed["arms"]) == ([6, 7], [6, 7])
    assert final["sensitivity"] is None
    assert final["p_adjusted"] == pytest.approx(2 * min(expected.pvalue, speed["estimate"]["p"]))


def test_runs_without_seeds_are_compared_unpaired_over_workloads(sheet, thermolion):
    by_workload = {"wiki": (LION, ADAMW), "news": (ADAMW[:4], LION[:5])}
    for data, arms in by_workload.items():
        for optimizer, finals in zip(("lion", "adamw"), arms, strict=True):
            for final in finals:
                sheet.log({"optimizer": optimizer, "data": data}, [0.1, 0.5, final])
    asked = sheet.ask("--unpaired", "--workload", "data", "--separate-workloads", "--json")
    asked = [one for one in asked if one not in ("--seed", "seed")]
    final, _ = answers(thermolion(*asked, "--baseline", "adamw"))
    each = [stats.ttest_ind(a, b, equal_var=False) for a, b in by_workload.values()]
    means = [sum(a) / len(a) - sum(b) / len(b) for a, b in by_workload.values()]
    squares = [(mean / one.statistic) ** 2 for mean, one in zip(means, each, strict=True)]
    df = sum(squares) ** 2 / sum(s**2 / one.df for s, one in zip(squares, each, strict=True))
    t = (sum(means) / 2) / (sum(squares) ** 0.5 / 2)
    assert final["estimate"]["df"] == pytest.approx(df)
    assert final["estimate"]["p"] == pytest.approx(2 * stats.t.sf(abs(t), df))


def test_one_run_with_an_impossible_value_is_left_out_by_name(sheet, thermolion):
    log_pairs(sheet)
    sheet.log({"optimizer": "lion", "seed": 6}, [0.1, 0.5, 92.1])
    sheet.log({"optimizer": "adamw", "seed": 6}, [0.1, 0.5, 0.9])
    said = thermolion(*sheet.ask("--baseline", "adamw", "--unit", "fraction"))
    assert said.code == 0, said.err
    assert "1 run (lion-6) left out: val_acc is 92.1: a fraction lies between 0 and 1" in said.out


def test_a_unit_that_most_runs_contradict_is_refused(sheet, thermolion):
    log_pairs(sheet, [100 * v for v in LION], [100 * v for v in ADAMW])
    said = thermolion(*sheet.ask("--unit", "fraction"))
    assert (said.code, said.out) == (2, "")
    assert "in 12 runs" in said.err
    assert "name another --unit (fraction, percent or plain)" in said.err


def test_a_run_that_was_logged_for_two_seeds_counts_once(sheet, thermolion):
    curves = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, v] for v in LION]
    curves[1] = curves[0]
    log_pairs(sheet, curves, [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, v] for v in ADAMW])
    said = thermolion(*sheet.ask("--baseline", "adamw", "--json"))
    final, _ = answers(said)
    expected = stats.ttest_rel([LION[0], *LION[2:]], [ADAMW[0], *ADAMW[2:]])
    assert final["estimate"]["p"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert "lion on nlp has the same curve, value by value, for seed 0 and 1" in said.out


def test_a_learning_rate_taken_for_a_workload_repeats_no_seed(sheet, thermolion):
    for lr in ("0.001", "0.003", "0.01", "0.03"):
        log_pairs(sheet, LION[:5], ADAMW[:5], lr=lr)
    asked = sheet.ask("--baseline", "adamw", "--workload", "lr")
    said = thermolion(*asked, "--json")
    final, _ = answers(said)
    once = stats.ttest_rel(LION[:5], ADAMW[:5]).pvalue
    assert final["estimate"]["p"] == pytest.approx(once, rel=1e-9)  # five seeds, not twenty
    assert "4 workloads by lr have the same seeds" in said.out
    assert len(json.loads(said.out)["level_b"][0]["means"]) == 1
    final, _ = answers(thermolion(*asked, "--separate-workloads", "--json"))
    assert final["estimate"]["p"] < once / 10


def test_a_run_that_ended_in_nan_before_the_step_has_diverged_there_too(sheet, thermolion):
    log_pairs(sheet)
    for optimizer, curve in (("lion", [0.1, math.nan]), ("adamw", [0.1, 0.5, 0.907])):
        sheet.log({"optimizer": optimizer, "seed": 9}, curve)
    asked = sheet.ask("--baseline", "adamw", "--at-step", 2)
    assert "1 run (lion-9) diverged" in thermolion(*asked).out
    final, _ = answers(thermolion(*asked, "--chance", 0.1, "--json"))
    assert final["estimate"]["n"] == 7
    assert "collapse" in final["flags"]


@pytest.mark.parametrize("shift", [0, 10])
def test_without_pairs_a_run_has_no_number_that_is_the_seed_of_another(sheet, thermolion, shift):
    for seed, final in enumerate(LION):
        sheet.log({"optimizer": "lion", "seed": seed}, [0.1, 0.5, final])
    for seed, final in enumerate([*ADAMW, math.nan], shift):
        sheet.log({"optimizer": "adamw", "seed": seed}, [0.1, 0.5, final])
    said = thermolion(*sheet.ask("--baseline", "adamw", "--unpaired"))
    number = shift + 6 if shift else 7 + 12  # after the seeds, if two runs have one
    assert f"nlp, block {number}: adamw diverged" in said.out


def test_a_page_without_pairs_speaks_of_runs_and_names_the_metric(sheet, thermolion, tmp_path):
    for optimizer, final in (("lion", 0.9), ("adamw", 0.8)):
        for seed in range(5):
            sheet.log({"optimizer": optimizer, "seed": f"{optimizer}{seed}"}, [0.1, 0.5, final])
    asked = sheet.ask("--baseline", "adamw", "--unpaired", "--report", tmp_path / "page")
    said = thermolion(*asked)
    assert "by 5 runs against 5, but the values of each side have no spread" in said.out
    html = (tmp_path / "page" / "report.html").read_text()
    assert "The unit is the run" in html
    assert "paired differences;" not in html
    assert "None of final val_acc: no block" in html


def test_of_a_loss_it_has_to_be_said_what_is_better(tmp_path, thermolion):
    path = tmp_path / "runs.csv"
    path.write_text("optimizer,seed,val_loss\nlion,0,0.3\nadamw,0,0.4\n")
    asked = ("--csv", path, "--candidate", "optimizer", "--seed", "seed", "--metric", "val_loss")
    said = thermolion("compare", *asked)
    assert (said.code, said.out) == (2, "")
    assert "nothing says what is better, more or less of val_loss: add --goal min" in said.err
    assert thermolion("compare", *asked, "--goal", "min").code == 0


@pytest.mark.parametrize("value", ["1.5", "nan"])
@pytest.mark.parametrize("option", ["--chance", "--target"])
def test_a_value_that_no_run_can_have_is_refused(sheet, thermolion, option, value):
    log_pairs(sheet)
    said = thermolion(*sheet.ask("--unit", "fraction", option, value))
    assert (said.code, said.out) == (2, "")
    assert f"{option} is {value}: a fraction lies between 0 and 1" in said.err


def test_a_loss_that_explodes_is_spelled_by_its_power_of_ten(sheet, thermolion):
    log_pairs(sheet)
    for optimizer, final in (("lion", 0.91), ("adamw", -1.5e30)):
        sheet.log({"optimizer": optimizer, "seed": 9}, [0.1, 0.5, final])
    said = thermolion(*sheet.ask("--baseline", "adamw")).out
    assert "final val_acc: +2.14e+29, 95% CI [-3.1e+29, +7.39e+29]" in said
    assert "000000000" not in said
