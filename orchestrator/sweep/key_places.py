"""Where a key belongs that stands in the wrong part of a sweep file: the sentence that says so."""

from collections.abc import Iterable

from jobs.contract.close_names import find_other_name
from thermolion import registry


def find_hyperparameter(key: str) -> str | None:
    """Say that a key is a hyperparameter, which candidates have; None if it is none."""
    known = {name for spec in registry.OPTIMIZERS.values() for name in spec.settable}
    name = key if key in known else find_other_name(key, sorted(known))
    if name is None:
        return None
    return (
        f"{name!r} is a hyperparameter, which candidates have: write it there, such as "
        f"candidates: {{adamw: {{{name}: …}}}}"
    )


def find_workload_key(key: str, known: Iterable[str]) -> str | None:
    """Say that a key is one of the `known` keys of workloads; None if it is none."""
    names = list(known)
    name = key if key in names else find_other_name(key, names)
    if name is None:
        return None
    return (
        f"{name!r} is a key of workloads: write it there, such as "
        f"workloads: [{{…, {name}: …}}], or for all of them defaults: {{{name}: …}}"
    )


def offer_options(key: str) -> str:
    """Say how a command or function is given a setting of its own."""
    return (
        f"what your own training takes are its options: options: {{{key}: …}}, and "
        f"--{key} {{{key}}} in a command (context.options[{key!r}] in a function)"
    )
