"""The verb `studies`: list the studies of a root; archive, restore or remove one."""

from argparse import Namespace

from orchestrator.cli.terminal import Exit, print_result
from orchestrator.progress.studies import (
    archive_study,
    format_studies,
    list_studies,
    remove_study,
    restore_study,
)
from orchestrator.study.study import default_root


def studies(arguments: Namespace) -> int:
    """List the studies of a root, or archive, restore or remove the one that is named."""
    root = (arguments.root or default_root()).absolute()
    if arguments.archive is not None:
        path = archive_study(root, arguments.archive, arguments.break_lock)
        print_result(f"{arguments.archive} is in {path}; its runs in MLflow stay")
    elif arguments.restore is not None:
        print_result(f"{arguments.restore} is back in {restore_study(root, arguments.restore)}")
    elif arguments.remove is not None:
        remove_study(root, arguments.remove, arguments.yes, arguments.break_lock)
        print_result(f"{arguments.remove} is removed; its runs in MLflow stay")
    else:
        summaries = list_studies(root)
        if arguments.json:
            print_result([one.to_json() for one in summaries])
        else:
            print_result(format_studies(summaries) or f"no studies below {root}")
    return Exit.DONE
