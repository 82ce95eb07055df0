"""Lets a torchvision that was built for CUDA be imported beside a CPU-only torch, in tests alone.

Put on PYTHONPATH if `import torchvision` fails because two operators are missing; the reason and
the declarations are those of `jobs.images.torchvision_import`, which a user's own script does not
go through.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec

_BOX_OPERATOR = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declarations = []  # a declaration ends with its library object


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing; declares the operators as soon as torchvision is looked for."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname == "torchvision" and not _declarations:
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"nms{_BOX_OPERATOR}")
            library.define(f"qnms{_BOX_OPERATOR}")
            _declarations.append(library)
        return None


sys.meta_path.insert(0, _BeforeTorchvision())
