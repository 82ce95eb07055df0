"""The words of a command: placeholders checked before anything starts, and filled."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import HYPERPARAMETERS, made

from jobs.contract import command_template
from jobs.contract.command_template import parse_command, render, resolve_placeholders
from jobs.contract.trial import Trial
from jobs.contract.workloads.catalog import DataError

NAMES = command_template.list_placeholders({"depth": 2}, HYPERPARAMETERS)


def _values(trial: Trial) -> dict[str, Any]:
    return resolve_placeholders(trial, "cpu", Path("/data dir"), Path("/s"), Path("/t.json"))


def test_words_are_split_first_so_a_value_with_spaces_and_quotes_stays_one_word() -> None:
    options = {"note": "two words; 'quoted' $HOME"}
    trial = made("run --note={note} '{note} again' {data}", options)
    note = options["note"]
    assert render(trial.workload.command or "", _values(trial)) == [
        "run",
        f"--note={note}",
        f"{note} again",
        "/data dir",
    ]


def test_values_are_written_as_programs_read_them() -> None:
    options = {"depth": 2, "amp": True, "nothing": None, "sizes": [1, 2]}
    trial = made("{lr} {betas} {nesterov} {depth} {amp} {nothing} {sizes} {{lr}}", options)
    words = render(trial.workload.command or "", _values(trial))
    assert words == ["1e-05", "0.9,0.99", "false", "2", "true", "none", "1,2", "{lr}"]


def test_every_placeholder_that_planning_allows_can_be_filled() -> None:
    trial = made("x", {"depth": 2})
    assert set(_values(trial)) == set(NAMES)


def test_seeds_fit_every_framework_and_differ_by_stream() -> None:
    trial = made("x")
    values = _values(trial)
    assert values["seed"] == values["seed_init"] == trial.seeds["init"] % 2**31
    assert len({values[f"seed_{stream}"] for stream in trial.seeds}) == len(trial.seeds)


def test_hyperparameters_can_be_handed_over_all_at_once() -> None:
    trial = made("{hyperparameters}")
    (word,) = render(trial.workload.command or "", _values(trial))
    assert json.loads(word) == HYPERPARAMETERS


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["empty"]),
        ("python 'train.py", ["cannot be split", "No closing quotation"]),
        ("python train.py {lrr}", ["'lrr'", "did you mean 'lr'", "seed_dropout"]),
        ("python train.py {lr:.2f}", ["'lr:.2f'"]),
        ("python train.py {lr", ["single '{'", "{{"]),
        ("python train.py {}", ["unknown placeholder ''"]),
        ("python train.py {seed} {optimizer}", ["'lr'", "no effect", "--lr {lr}"]),
        ("python train.py {lr} {optimizer}", ["'seed'", "no effect", "--seed {seed}"]),
        ("python train.py {lr} {seed}", ["'optimizer'", "no effect"]),
    ],
)
def test_a_command_that_cannot_work_is_refused_in_words(line: str, words: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        parse_command(line, NAMES, ["lr", "optimizer", "seed"])
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    "line", ["a {lr} {candidate} {seed_order}", "a {trial_file}", "a {hyperparameters} {trial}"]
)
def test_what_stands_for_the_rest_is_enough(line: str) -> None:
    assert parse_command(line, NAMES, ["lr", "optimizer", "seed"]) == line.split()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1}, "option 'seed' has the name of a placeholder"),
        ({"lr": 1}, "a hyperparameter"),
    ],
)
def test_two_things_of_one_name_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        command_template.list_placeholders(options, HYPERPARAMETERS)


def test_a_command_that_needs_the_data_root_says_so_where_there_is_none() -> None:
    trial = made("x {data}")
    values = resolve_placeholders(trial, "cpu", None, Path("/s"), Path("/t"))
    with pytest.raises(DataError, match="--data"):
        render("x {data}", values)


# Hydra 1.3.2 (`OverridesParser.parse_override`) reads each of these back to the value.
HYDRA = [
    (1e-05, "x=1e-05"),
    (True, "x=true"),
    ("two words", "x=two words"),
    ("http://x/y:1", "x=http://x/y:1"),
    ("a,b", "x='a,b'"),
    (" lead", "x=' lead'"),
    ("it's", r"x='it\'s'"),
    (r"a\b", r"x='a\b'"),
    (r"q\'x", r"x='q\\\'x'"),
    ("end\\", r"x='end\\'"),
    ("", "x=''"),
    ([1, 2.5, None], "x=[1,2.5,null]"),
    (["a b", "c,d"], "x=[a b,'c,d']"),
    ({"a": 1, "b": [True]}, "x={a:1,b:[true]}"),
]


@pytest.mark.parametrize(("value", "word"), HYDRA)
def test_values_are_written_in_the_grammar_of_hydra(value: Any, word: str) -> None:
    assert render("{x=}", {"x": value}) == [word]
    assert render("{++x=}", {"x": value}) == [f"++{word}"]


@pytest.mark.parametrize(
    ("line", "value", "words"),
    [
        ("{--x}", 0.1, ["--x", "0.1"]),
        ("{--x}", "two words", ["--x", "two words"]),
        ("{--x}", [1, 2], ["--x", "1", "2"]),
        ("{--x}", True, ["--x"]),
        ("{--x}", False, []),
        ("{--x}", None, []),
        ("{-x}", 3, ["-x", "3"]),
        ("{--x=}", -1, ["--x=-1"]),
        ("{--x=}", False, ["--x=false"]),
        ("{--x=}", [0.9, 0.99], ["--x=[0.9, 0.99]"]),
        ("{--x=}", None, []),
        ("{x=}", False, ["x=false"]),
        ("{x=}", None, []),
    ],
)
def test_an_argument_is_whole_words_or_none(line: str, value: Any, words: list[str]) -> None:
    assert render(f"run {line} {{{{x}}}}", {"x": value}) == ["run", *words, "{x}"]
    assert render(f"run {line}", {}) == ["run"]


def test_all_arguments_are_written_in_the_same_forms() -> None:
    values = {"args": {"batch-size": 32, "amp": True, "gone": None}}
    assert (
        render("{args}", values) == render("{--args}", values) == ["--batch-size", "32", "--amp"]
    )
    assert render("{args=}", values) == ["batch-size=32", "amp=true"]
    assert render("{--args=}", values) == ["--batch-size=32", "--amp=true"]


def test_dashes_and_underscores_of_a_name_are_one_as_argparse_has_it() -> None:
    assert render("{--batch-size} {--weight_decay}", {"batch_size": 3, "weight-decay": 0.1}) == [
        *("--batch-size", "3"),
        *("--weight_decay", "0.1"),
    ]
