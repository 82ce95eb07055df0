"""The rules of the tree that no linter has: sizes of files and folders, one meaning per name.

Run by `make lint`, as `python tests/house/rules.py [REPOSITORY]`. Prints one line for each
violation and exits with 1 if there is any. Imports of layers and cycles are import-linter's.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = ("thermolion", "jobs", "slurm", "tracking", "orchestrator")
MAX_MODULES = 18  # in a folder, `__init__` not counted
MAX_LINES = 450  # in a file
CONTRACT = Path("jobs/contract")

# A module of these folders may be called like the thing that it shows or starts.
NAMED_AFTER = ("tracking/report", "orchestrator/views", "orchestrator/cli", "orchestrator/submit")


def violations(root: Path) -> Iterator[str]:
    """Yield one sentence for each violation below `root`, in the order of the rules."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    trees = {file.relative_to(root): ast.parse(file.read_text()) for file in files}
    modules = [path for path in trees if path.name != "__init__.py"]
    yield from _sizes(root, modules)
    yield from _basenames(modules)
    yield from _classes(trees)
    yield from _contract(trees)
    yield from _forwarding(trees)


def _sizes(root: Path, modules: list[Path]) -> Iterator[str]:
    rooms: dict[Path, int] = defaultdict(int)
    for path in modules:
        rooms[path.parent] += 1
        lines = len((root / path).read_text().splitlines())
        if lines > MAX_LINES:
            yield f"{path}: {lines} lines, at most {MAX_LINES}: it has a second concept"
    for folder, count in rooms.items():
        if count > MAX_MODULES:
            yield f"{folder}: {count} modules, at most {MAX_MODULES}: give some their own folder"


def _basenames(modules: list[Path]) -> Iterator[str]:
    named: dict[str, list[Path]] = defaultdict(list)
    for path in modules:
        if path.parent.as_posix() not in NAMED_AFTER:
            named[path.name].append(path)
    for name, paths in named.items():
        if len(paths) > 1:
            yield f"{name} stands for several things: {', '.join(map(str, paths))}"


def _classes(trees: Mapping[Path, ast.Module]) -> Iterator[str]:
    defined: dict[str, list[Path]] = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                defined[node.name].append(path)
    for name, paths in defined.items():
        if len(paths) > 1:
            yield f"class {name} has several meanings: {', '.join(map(str, paths))}"


def _contract(trees: Mapping[Path, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        if CONTRACT in path.parents:
            for name in _imports(tree):
                top = name.partition(".")[0]
                ours = name == "thermolion.errors" or name.startswith("jobs.contract")
                if top not in sys.stdlib_module_names and not ours:
                    yield f"{path} imports {name}: jobs/contract is standard library only"


def _forwarding(trees: Mapping[Path, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        body = tree.body[1:] if ast.get_docstring(tree) else tree.body
        if body and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body):
            yield f"{path} only imports: let its users import from the source"


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def main(arguments: list[str]) -> int:
    """Print the violations of the repository that is named, or of this one."""
    root = Path(arguments[0]) if arguments else Path(__file__).parents[2]
    found = list(violations(root))
    sys.stdout.write(("\n".join(found) or "the tree keeps the rules of the house") + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
