"""The import of torchvision, in processes of its own: it happens once in each."""

import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).parents[3]

_DECLARE = """
import torch
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def _python(code: str, path: Path = _REPOSITORY) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path[:0] = [{str(path)!r}, {str(_REPOSITORY)!r}]\n{code}"
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_torchvision_imports_whichever_torch_it_was_built_for() -> None:
    done = _python(
        "from jobs.images import torchvision_import\n"
        "ours = torchvision_import.torchvision\n"
        "import torchvision\n"
        "assert ours is torchvision\n"
        "assert torchvision_import.datasets.MNIST and torchvision_import.models.resnet18"
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_declared_where_the_operators_exist() -> None:
    # As after the extension of an ordinary wheel has loaded; a second definition would raise.
    done = _python(
        _DECLARE + "from jobs.images import torchvision_import\n"
        "assert torchvision_import.datasets and torchvision_import._declarations == []"
    )
    assert done.returncode == 0, done.stderr


def test_a_torchvision_that_fails_for_another_reason_raises_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('another reason')")
    done = _python("from jobs.images.torchvision_import import datasets", tmp_path)
    assert done.returncode == 1
    assert "another reason" in done.stderr


def test_the_quickstart_never_loads_torchvision() -> None:
    done = _python(
        "from jobs.images import data, models\n"
        "images = data.load('digits', {}, None).train.images\n"
        "models.build('convnet', {}, 1, 8, 10)(data.normalise(images[:2]))\n"
        "assert 'torchvision' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr
