"""What the user drives: sweep, plan, status, backends, the command line, frames for notebooks.

Importing the package loads nothing: planning on a login node must not pay for pandas.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.notebook import NotebookStudy as Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    return importlib.import_module("orchestrator.notebook").NotebookStudy
