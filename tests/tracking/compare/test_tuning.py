"""Which setting wins, and whether its learning rate lies at an edge of what was tried."""

import pytest

from tracking.compare.tuning import TriedSetting, best_setting, find_edge


def settings(*tried):
    """Settings of (learning rate, score, diverged trials), by number."""
    return [
        TriedSetting(f"s#{number}", {"lr": lr}, score, diverged)
        for number, (lr, score, diverged) in enumerate(tried, 1)
    ]


def test_the_best_by_its_score_wins_and_of_equals_the_first():
    tried = settings((1e-3, 0.5, 0), (1e-2, 0.8, 0), (1e-1, 0.8, 0))
    assert best_setting(tried, lower_is_better=False).name == "s#2"
    assert best_setting(tried, lower_is_better=True).name == "s#1"


def test_a_setting_that_diverged_wins_only_if_all_have():
    tried = settings((1e-3, 0.9, 1), (1e-2, 0.2, 0), (1e-1, None, 0))
    assert best_setting(tried, lower_is_better=False).name == "s#2"
    lost = settings((1e-3, 0.1, 1), (1e-2, 0.1, 2))
    assert best_setting(lost, lower_is_better=False).name == "s#1"
    assert find_edge(lost, lost[0]) is None
    assert best_setting(settings((1e-3, None, 0)), lower_is_better=False) is None


@pytest.mark.parametrize(("winner", "word"), [(0, "lowest"), (1, None), (2, "highest")])
def test_an_edge_is_the_least_or_greatest_rate_of_all(winner, word):
    tried = settings((1e-3, 0.5, 0), (1e-2, 0.6, 0), (1e-1, 0.7, 0))
    assert find_edge(tried, tried[winner]) == word
    assert find_edge(tried[:2], tried[0]) is None  # of two, both are ends
