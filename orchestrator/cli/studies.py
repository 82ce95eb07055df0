"""The verb of all studies of a root: which there are, put away, taken out, removed."""

from argparse import Namespace

from orchestrator.cli.terminal import DONE, result
from orchestrator.study.study import default_root


def studies(arguments: Namespace) -> int:
    """List the studies of a root, or do to one of them what the options say."""
    from orchestrator.progress import studies as archive
    from orchestrator.progress import studies as shelf

    root = (arguments.root or default_root()).absolute()
    if arguments.archive is not None:
        path = archive.archive_study(root, arguments.archive, arguments.break_lock)
        result(f"{arguments.archive} is in {path}; its runs in MLflow stay")
    elif arguments.restore is not None:
        result(f"{arguments.restore} is back in {archive.restore_study(root, arguments.restore)}")
    elif arguments.remove is not None:
        archive.remove_study(root, arguments.remove, arguments.yes, arguments.break_lock)
        result(f"{arguments.remove} is removed; its runs in MLflow stay")
    else:
        found = shelf.read_shelf(root)
        if arguments.json:
            result([shelved.to_json() for shelved in found])
        else:
            result(shelf.shelf_text(found) or f"no studies below {root}")
    return DONE
