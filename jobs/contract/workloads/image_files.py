"""Which files below a folder of images by class are its images: by their names, none is opened.

Hidden files and folders are none, nor are those that systems leave everywhere.
"""

import os
from pathlib import Path

# Those that torchvision takes for images.
_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_OF_SYSTEMS = frozenset(
    (
        *("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"),
        *("lost+found", "__pycache__"),
    )
)


def find_classes(part: Path) -> list[str]:
    """Return the names of the classes of a part, sorted: its folders."""
    return sorted(
        entry.name for entry in part.iterdir() if not _is_left_out(entry.name) and entry.is_dir()
    )


def is_image(file: str, part: str) -> bool:
    """Return True if the path `file`, below the folder `part`, is that of an image."""
    if not file.lower().endswith(_SUFFIXES):
        return False
    return not any(map(_is_left_out, file[len(part) :].split("/")))


def find_images(part: Path) -> list[Path]:
    """Return the images of the classes of a part, sorted; links are followed, as training does."""
    return sorted(
        path
        for name in find_classes(part)
        for place, _, files in os.walk(part / name, followlinks=True)
        for path in (Path(place, file) for file in files)
        if is_image(str(path), str(part))
    )


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS
