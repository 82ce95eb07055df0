"""What a Python script takes and tells, read from its text: options, metrics, loggers.

Runs nothing of it. What cannot be seen in the text is not found.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_OPTION_CALLS = ("add_argument", "option")  # argparse; click
_LOG_CALLS = ("log", "log_metric", "log_metrics", "log_dict", "add_scalar")
_PRINT_CALLS = ("print", "info", "write", "echo")
# By the package that a script imports: the source of its results, the likeliest first.
_LOGGERS = {
    "transformers": "huggingface",
    "lightning": "lightning",
    "pytorch_lightning": "lightning",
    "mlflow": "mlflow",
    "tensorboard": "tensorboard",
    "tensorboardX": "tensorboard",
}
_MEASURES = r"acc|loss|score|error|top1|f1|auc|bleu|perplexity|ppl|rmse|mse|mae|return|reward"
_HELD_OUT = re.compile(r"val|test|eval|dev", re.IGNORECASE)
_LOWER = re.compile(r"loss|error|perplexity|ppl|rmse|mse|mae", re.IGNORECASE)


@dataclass(frozen=True)
class ScriptFacts:
    """What was seen in a script.

    `options` are the long names of its arguments without dashes, with their defaults (None if
    there is none or it is no constant; True or False for flags). `logger` is a source as the key
    `results` takes it, `file` the name of a file of rows, `pattern` one of printed lines; None if
    none was seen. `metrics` are the names that the source has.
    """

    options: dict[str, Any] = field(default_factory=dict)
    logger: str | None = None
    file: str | None = None
    pattern: str | None = None
    is_hydra: bool = False
    metrics: tuple[str, ...] = ()

    @property
    def metric(self) -> str | None:
        """The name that is likeliest to be the curve: held out, an accuracy before a loss."""

        def rank(name: str) -> tuple[bool, bool, bool]:
            is_measure = re.search(_MEASURES, name, re.IGNORECASE) is not None
            return _HELD_OUT.search(name) is None, not is_measure, is_lower_better(name)

        return min(self.metrics, key=rank, default=None)


def is_lower_better(metric: str) -> bool:
    """Return True if the name of a metric says that lower is better."""
    return _LOWER.search(metric) is not None


def read_script(path: Path) -> ScriptFacts:
    """Return what is seen in a script; nothing if it is no Python that this Python can read."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return ScriptFacts()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    options = dict(option for call in calls for option in _list_options(call))
    imported, texts = _list_imported(tree), _list_texts(tree)
    facts = ScriptFacts(options, is_hydra="hydra" in imported)
    logger = next((source for package, source in _LOGGERS.items() if package in imported), None)
    if logger == "huggingface":  # the Trainer puts the name of the part before each metric
        measures = [text for text in texts if re.fullmatch(f"\\w*({_MEASURES})\\w*", text)]
        return replace(facts, logger=logger, metrics=(f"eval_{(*measures, 'loss')[0]}",))
    if logger is not None:
        return replace(facts, logger=logger, metrics=tuple(_list_logged(calls)))
    file = next((text for text in texts if re.fullmatch(r"[\w-]+\.(csv|jsonl)", text)), None)
    if file is not None:
        return replace(facts, file=file, metrics=tuple(_list_columns(texts)))
    pattern, metrics = _find_pattern(calls)
    return replace(facts, pattern=pattern, metrics=metrics)


def _list_options(call: ast.Call) -> Iterator[tuple[str, Any]]:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _OPTION_CALLS:
        return
    names = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    long = next((n for n in names if isinstance(n, str) and n.startswith("--")), None)
    if long is None:
        return
    settings = {word.arg: word.value for word in call.keywords}
    action = _constant(settings.get("action"))
    if action in ("store_true", "store_false"):
        yield long.removeprefix("--"), action == "store_false"
    else:
        yield long.removeprefix("--"), _constant(settings.get("default"))


def _constant(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _list_imported(tree: ast.Module) -> set[str]:
    """Return the names of all packages and modules that are imported, part by part."""
    imported = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            imported |= set((node.module or "").split("."))
    return imported


def _list_texts(tree: ast.Module) -> list[str]:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [value for value in constants if isinstance(value, str)]


def _list_columns(texts: list[str]) -> Iterator[str]:
    """Yield the texts that may name columns of measures."""
    for text in texts:
        if re.fullmatch(rf"\w*({_MEASURES})\w*", text, re.IGNORECASE):
            yield text


def _list_logged(calls: list[ast.Call]) -> Iterator[str]:
    """Yield the names under which metrics are logged, as they come."""
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr in _LOG_CALLS and call.args:
            first = call.args[0]
            names = first.keys if isinstance(first, ast.Dict) else [first]
            for name in names:
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield name.value


def _find_pattern(calls: list[ast.Call]) -> tuple[str | None, tuple[str, ...]]:
    """Return a pattern of the printed line that tells most, and the metrics that it names."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for call in calls:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name in _PRINT_CALLS and call.args and isinstance(call.args[0], ast.JoinedStr):
            found += _read_lines(call.args[0])

    def rank(line: tuple[str, tuple[str, ...]]) -> tuple[bool, bool]:
        text, _ = line
        return _HELD_OUT.search(text) is None, "{epoch}" not in text and "{step}" not in text

    return min(found, key=rank, default=(None, ()))


def _read_lines(text: ast.JoinedStr) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a pattern for each line of an f-string that has a measure, with its metrics."""
    pattern, names = "", list[str]()
    for part in text.values:
        if isinstance(part, ast.Constant):
            pattern += str(part.value).replace("{", "{{").replace("}", "}}")
        elif isinstance(part, ast.FormattedValue):
            name = _name_value(part.value, pattern)
            # A number that stands right behind another has nothing to be told from it by.
            name = "" if name in names else name
            names += [name] if name else []
            pattern += f"{{{name}}}"
    for line in pattern.splitlines():
        steps = ("epoch", "step")
        metrics = tuple(n for n in names if f"{{{n}}}" in line and n not in steps)
        if metrics:
            yield " ".join(line.split()), metrics


def _name_value(value: ast.expr, before: str) -> str:
    """Return the name of a printed value: epoch, step or a measure; empty for anything else."""
    own = value.id if isinstance(value, ast.Name) else ""
    for step in ("epoch", "step"):
        if own == step or (own == step[0] and step in before.lower()):
            return step
    words: list[str] = re.findall(r"[A-Za-z_]\w*", before.rpartition("}")[2])
    for name in (own, "_".join(words[-2:]).lower(), *reversed(words)):
        if re.search(_MEASURES, name, re.IGNORECASE):
            return name.lower()
    return ""
