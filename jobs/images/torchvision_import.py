"""The import of torchvision, which takes seconds: at the first use of a name of this module.

A torchvision built for CUDA cannot load its extension with a CPU-only torch, and its import then
fails because two box operators are missing. They are declared here, and only then: nothing in this
project calls them, and a torchvision that works is imported as it is.
"""

import importlib
import sys
from typing import Any

import torch

_BOX_OPERATOR = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declarations: list[Any] = []  # a declaration ends with its library object


def _import_torchvision() -> Any:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    library: Any = torch.library.Library(  # type: ignore[no-untyped-call]  # torch leaves it so
        "torchvision", "FRAGMENT"
    )
    library.define(f"nms{_BOX_OPERATOR}")
    library.define(f"qnms{_BOX_OPERATOR}")
    _declarations.append(library)
    # The failed import leaves submodules that refer to a package which is gone.
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
    return importlib.import_module("torchvision")


def __getattr__(name: str) -> Any:
    """Return `torchvision`, or its `datasets` or `models`, imported when they are first used."""
    if name not in ("torchvision", "datasets", "models"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    torchvision = _import_torchvision()
    module = torchvision if name == "torchvision" else getattr(torchvision, name)
    globals()[name] = module  # the next use does not come here
    return module
