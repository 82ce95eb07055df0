"""The parts of a folder of images by class, found without opening one. Standard library only."""

from pathlib import Path

from jobs.options import DataError

PREFIX = "imagefolder:"  # `imagefolder:/path` is the data set in that folder


def find(dataset: str, root: Path | None) -> tuple[Path, Path]:
    """Return the folders of the training and the test part of `imagefolder:PATH`.

    A relative path lies below `root`. The test part is `test/`, or else `val/`. Raises DataError
    where a part is absent or has no classes, and where the parts have unequal ones.
    """
    path = Path(dataset.removeprefix(PREFIX))
    if not path.is_absolute():
        if root is None:
            raise DataError(
                f"data set {dataset!r}: no data root is given; write the whole path of the "
                "folder, or point --data DIR or THERMOLION_DATA at the folder that it lies in"
            )
        path = root / path
    parts = [path / name for name in ("train", "test", "val") if (path / name).is_dir()]
    if len(parts) < 2 or parts[0].name != "train":
        found = ", ".join(part.name for part in parts) or "none of them"
        raise DataError(
            f"data set {dataset!r}: {path} needs train/ and test/ (or val/), each with one folder "
            f"of images a class, and has {found}; make them, or name another folder"
        )
    train, test = parts[:2]
    known, tested = _classes(train), _classes(test)
    if not known:
        raise DataError(
            f"data set {dataset!r}: no classes, {train} holds no folders; move the images of each "
            "class into a folder named after it"
        )
    if known != tested:
        lacks = [
            f"{part} lacks {', '.join(sorted(missing))}"
            for part, missing in ((train, tested - known), (test, known - tested))
            if missing
        ]
        raise DataError(
            f"data set {dataset!r}: the parts have unequal classes ({'; '.join(lacks)}); give "
            "both the same folders"
        )
    return train, test


def _classes(part: Path) -> set[str]:
    return {entry.name for entry in part.iterdir() if entry.is_dir()}
