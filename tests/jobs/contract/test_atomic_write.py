"""Files that readers find whole or not at all."""

from pathlib import Path

import pytest

from jobs.contract.atomic_write import open_atomically, write_atomically, write_once


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, "before")
    with pytest.raises(TypeError), open_atomically(file) as draft:
        draft.writelines([b"half", "of a text"])
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_readers_see_what_was_there_until_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, "before")
    with open_atomically(file) as draft:
        draft.write(b"after")
        draft.flush()
        assert file.read_text() == "before"
    assert file.read_text() == "after"


def test_of_two_writers_of_a_new_file_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(FileExistsError), open_atomically(file, replace=False):
        assert write_once(file, "first")
    assert not write_once(file, "third")
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_for_nobody_else_is_so_from_its_first_byte(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with open_atomically(file, mode=0o600) as draft:
        assert Path(draft.name).stat().st_mode & 0o777 == 0o600
    assert file.stat().st_mode & 0o777 == 0o600
