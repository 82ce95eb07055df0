"""A commented sweep file to start from: for images, for a function, for a command.

Returns text; `orchestrator.cli.init` writes it.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from jobs.contract.close_names import find_other_name
from jobs.contract.command_template import BUILT_IN
from orchestrator.sweep.document import SweepError
from orchestrator.sweep.starters.script_reader import ScriptFacts, is_lower_better, read_script
from thermolion import registry

KINDS = ("images", "function", "command")
_DEFAULT = {"images": "", "function": "train:train", "command": "train.py"}
_PLACEHOLDER = re.compile(r"\{(?:--?|\+{0,2})?([\w./@:-]+?)=?\}")
_OTHER_RATE = 3  # the second candidate has so many times the learning rate of the first


def make_starter(kind: str, what: str | None, file: Path) -> dict[Path, str]:
    """Return the files of a starter by path: `file`, and a function's module if there is none.

    `what` is `module:function`, or a command, or a script; None for the usual names. Raises
    SweepError for a function or script that cannot be meant.
    """
    what = what or _DEFAULT[kind]
    name = file.absolute().parent.name if file.stem == "sweep" else file.stem
    study = re.sub(r"[^\w-]+", "-", name).strip("-") or "first"
    values = {"study": study, "file": shlex.quote(str(file))}
    if kind == "images":
        return {file: _fill("images.yaml", values)}
    if kind == "function":
        return _function(what, file, values)
    return {file: _fill("command.yaml", values | _command(what, file.parent))}


def _fill(name: str, values: Mapping[str, str]) -> str:
    template = Path(__file__).with_name(f"{name}.template").read_text(encoding="utf-8")
    return Template(template).substitute(values)


def _function(what: str, file: Path, values: Mapping[str, str]) -> dict[Path, str]:
    module, colon, name = what.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", module) or not colon or not name.isidentifier():
        raise SweepError(
            f"{what!r} names no function: write module:function, such as "
            f"thermolion init function {module.removesuffix('.py') or 'train'}:train"
        )
    named = {"function": what, "workload": module.rpartition(".")[2]}
    made = {file: _fill("function.yaml", {**values, **named})}
    path = Path(*module.split("."))
    source = file.parent / path.with_suffix(".py")
    if not source.exists() and not (file.parent / path).exists():
        made[source] = _fill("function.py", {"name": name})
    return made


def _command(what: str, folder: Path) -> dict[str, str]:
    """Return the values of a command's template: read from its script, if that is Python."""
    words = _split(what)
    script = next((word for word in words if word.endswith((".py", ".sh"))), words[0])
    path = folder / script
    if len(words) == 1 and what != _DEFAULT["command"] and not path.is_file():
        raise SweepError(
            f"there is no script {what!r} in {folder.absolute()}: name one that is there, or "
            "write the whole command: thermolion init command 'python train.py --lr {lr}'"
        )
    is_python = script.endswith(".py") and path.is_file()
    facts = read_script(path) if is_python else ScriptFacts()
    command, varied = what, _find_placeholders(what)
    if len(words) == 1:
        command, varied = _make_command(script, facts)
    others = [name for name in facts.options if name not in varied and f"--{name}" not in command]
    about = ""
    if others:
        about = f"    # It also takes {', '.join(f'--{name}' for name in others[:12])}"
        about += " …\n" if len(others) > 12 else "\n"
    if facts.options and len(words) == 1 and not _find_option(facts, "seed"):
        about += f"    # {script} shows no option for a seed: add one, or seeds would be repeats\n"
    metric = facts.metric or "val_acc"
    lines = {"lines": facts.pattern or f"epoch {{epoch}}: acc={{{metric}}}"}
    source = facts.logger or ({"file": f"**/{facts.file}"} if facts.file else lines)
    candidates, baseline = _candidates(varied, facts, "optimizer}" in command)
    return {
        "workload": _flow(Path(script).stem),
        "command": _flow(command),
        "about": about,
        "results": _flow(source),
        "metric": _flow(metric),
        "goal": "min" if is_lower_better(metric) else "max",
        "candidates": candidates,
        "baseline": baseline,
    }


def _split(what: str) -> list[str]:
    try:
        words = shlex.split(what)
    except ValueError as error:
        raise SweepError(f"{what!r} cannot be split into words: {error}") from error
    if not words:
        raise SweepError("the command is empty: write one, such as 'python train.py --lr {lr}'")
    return words


def _find_placeholders(command: str) -> list[str]:
    """Return the names that a command leaves to candidates."""
    return [name for name in _PLACEHOLDER.findall(command) if name not in BUILT_IN]


def _find_option(facts: ScriptFacts, name: str) -> str | None:
    """Return the option of a script that stands for `name`, as the script calls it."""
    known = {option.replace("-", "_"): option for option in facts.options}
    found = name if name in known else find_other_name(name, known)
    return None if found is None else known[found]


def _make_command(script: str, facts: ScriptFacts) -> tuple[str, list[str]]:
    """Return the command of a script with the options that it was seen to have."""
    if script.endswith(".sh"):
        return f"bash {shlex.quote(script)} {{lr}} {{seed}}", ["lr"]
    start = f"python {shlex.quote(script)}"
    if facts.is_hydra:
        return f"{start} {{lr=}} {{seed=}}", ["lr"]
    if facts.logger == "huggingface" and not facts.options:
        usual = "--do_train --do_eval --eval_strategy epoch --output_dir out"
        return f"{start} {usual} --learning_rate {{lr}} {{--seed}}", ["lr"]
    if not facts.options:
        return f"{start} {{--lr}} {{--seed}}", ["lr"]
    words, varied = [start], list[str]()
    for name in ("optimizer", "lr"):
        option = _find_option(facts, name)
        if option is not None:
            words.append(f"{{--{name}}}" if option == name else f"--{option} {{{name}}}")
            if name == "lr":
                varied.append(name)
    if not varied:
        plain = (n for n, value in facts.options.items() if type(value) in (int, float))
        first = next((n for n in plain if n != _find_option(facts, "seed")), None)
        words += [] if first is None else [f"{{--{first}}}"]
        varied += [] if first is None else [first]
    seed = _find_option(facts, "seed")
    words.append("{--seed}" if seed in (None, "seed") else f"--{seed} {{seed}}")
    return " ".join(words), varied


def _candidates(varied: list[str], facts: ScriptFacts, any_optimizer: bool) -> tuple[str, str]:
    """Return the lines of two candidates that differ in what varies, and the name of one."""
    own = {name for spec in registry.OPTIMIZERS.values() for name in spec.settable}
    rows = []
    for factor in (1, _OTHER_RATE):
        settings, args = dict[str, Any](), dict[str, Any]()
        for number, name in enumerate(varied):
            default = facts.options.get(_find_option(facts, name) or name)
            value = default if type(default) in (int, float) and default else 0.01
            value = value if number else round(value * factor, 6)
            (settings if name in own else args)[name] = value
        rows.append(settings | ({"args": args} if args else {}))
    names = ("adamw", "sgd") if any_optimizer else ("first", "second")
    if any_optimizer or not varied:
        rows[1] = rows[0]
    lines = [f"  {name}: {_flow(row)}" for name, row in zip(names, rows, strict=True)]
    return "\n".join(lines), names[0]


def _flow(value: Any) -> str:
    """Write a mapping as YAML in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    is_plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w-]*", value)
    return str(value) if is_plain else json.dumps(value)
