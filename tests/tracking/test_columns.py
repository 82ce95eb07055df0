"""Text in columns, as terminals and pipes get it."""

from tracking.columns import columns


def test_columns_are_as_wide_as_their_widest_cell_and_no_line_ends_in_spaces() -> None:
    rows = [("study", "1.5 MB", "completed"), ("a longer name", "12.0 MB", "")]
    assert columns(rows, right=[1]).split("\n") == [
        "study           1.5 MB  completed",
        "a longer name  12.0 MB",
    ]
    assert columns(rows, gap=1).split("\n")[0] == "study         1.5 MB  completed"
    assert columns([]) == ""
