"""What the report says of the searches for settings: few lines, however many there were."""

from types import SimpleNamespace

import pytest

from tracking.compare.tuning import SearchSummary, TriedSetting, TuningSummary, group_searches
from tracking.report.tuning import caveats, draw, rows, section

RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def _search(workload, candidate, search, chosen, edge=None, tried=8):
    settings = tuple(
        TriedSetting(f"{candidate}#{n}", {"lr": chosen * n}, 80.0 + search, 0)
        for n in range(1, tried + 1)
    )
    return SearchSummary(
        workload=workload,
        candidate=candidate,
        metric="val",
        in_points=True,
        lower_is_better=False,
        seeds=1,
        space=(("lr", "0.0001 to 0.1, log"),),
        widened=tried > 8,
        settings=settings,
        chosen=f"{candidate}#1",
        values=(("lr", chosen),),
        edge=edge,
        expected=(70.0 + search, 80.0 + search),
        search=search,
    )


def _tuned(workloads, repeats, **changes):
    searched = tuple(
        _search(f"w{w:02}", candidate, search, RATES[(w + search) % 4])
        for w in range(workloads)
        for candidate in ("left", "right")
        for search in range(repeats)
    )
    given = {"rounds": 1, "unequal": False, "untuned": (), "searched": searched} | changes
    return TuningSummary(search="sobol", repeats=repeats, **given)


def _section(tuning):
    return section(SimpleNamespace(tuning=tuning))


def test_one_search_a_workload_is_told_as_such():
    told = _section(_tuned(1, 1))
    chosen, expected = told.tables
    assert "independent searches" not in told.note
    assert dict(zip(chosen.header, chosen.rows[0], strict=True)) == {
        "workload": "w00",
        "candidate": "left",
        "space": "lr 0.0001 to 0.1, log",
        "tried": "8",
        "diverged": "0",
        "chosen": "lr = 0.001",
        "validation": "80.00 %",
        "at an edge": "no",
    }
    assert expected.rows[0][-2:] == ("70.00", "80.00")


def test_several_searches_share_a_row_with_the_spread_of_what_they_chose():
    told = _section(_tuned(1, 3))
    assert "repeated in 3 independent searches a workload" in told.note
    assert "settings of search b mod 3" in told.note
    by_candidate, chosen, expected = told.tables
    first = dict(zip(by_candidate.header, by_candidate.rows[0], strict=True))
    assert first["searches"] == "3"
    assert first["chosen lr, median"] == "0.002"
    assert first["lowest to highest"] == "0.001 to 0.004"
    assert first["spread on a workload"] == "factor 4"
    row = dict(zip(chosen.header, chosen.rows[0], strict=True))
    assert row["tried"] == "3 x 8"
    assert row["chosen"] == "lr = 0.001, 0.002, 0.004 (factor 4)"
    assert row["validation"] == "80.00 to 82.00 %"
    assert expected.rows[0][-2:] == ("71.00", "81.00")  # the mean over searches
    (group, _) = group_searches(_tuned(1, 3))
    assert group.spread == pytest.approx(4)


def test_48_workloads_of_5_searches_stay_readable_and_the_csv_has_them_all():
    tuning = _tuned(48, 5)
    told = _section(tuning)
    sizes = [len(table.rows) for table in told.tables]
    assert sizes == [2, 24, 24]
    assert "Tables by workload have the first 12 of 48; figures are of the first 6" in told.note
    assert told.tables[0].rows[0][1] == "240"
    written = list(rows(tuning))
    assert len(written) == 48 * 5 * 2 * 8
    places = {(one["workload"], one["candidate"], one["search"]) for one in written}
    assert len(places) == 480
    assert all(len(cell) < 80 for table in told.tables for row in table.rows for cell in row)


def test_edges_of_several_searches_are_counted_and_only_some_are_named():
    searched = tuple(
        _search(f"w{w:02}", "left", search, 1e-3, edge="highest" if search else None, tried=16)
        for w in range(9)
        for search in range(3)
    )
    (told,) = caveats(_tuned(0, 3, searched=searched, rounds=2))
    assert "left on w00 (highest in 2 of 3), left on w01" in told
    assert "left on w04 (highest in 2 of 3) and 4 more" in told
    note = _section(_tuned(0, 3, searched=searched, rounds=2)).note
    assert "in up to 2 rounds" in note


def test_unequal_budgets_are_ranges_over_searches():
    searched = (
        _search("w", "left", 0, 1e-3),
        _search("w", "left", 1, 1e-3, tried=16),
        _search("w", "right", 0, 1e-3),
    )
    (told,) = caveats(_tuned(0, 2, searched=searched, unequal=True, untuned=("plain",)))
    assert "(settings tried: left 8 to 16, right 8, plain none)" in told


def test_a_proxy_is_named_with_what_it_cannot_promise():
    tuning = _tuned(1, 1, proxy="2 epochs, 5,000 images")
    assert "tuned by proxy: 2 epochs, 5,000 images" in _section(tuning).note
    assert any("Tuned by proxy (2 epochs, 5,000 images)" in text for text in caveats(tuning))


def test_tuning_that_has_not_begun_has_no_table():
    told = _section(_tuned(0, 5))
    assert (told.note, told.tables) == ("No trial of tuning has begun.", ())
    assert draw(_tuned(0, 5), {}) == []
