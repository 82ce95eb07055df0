"""The name that somebody meant who wrote another one: what others call the same thing, or a slip.

Standard library only; knows names, not where they may stand.
"""

import difflib
from collections.abc import Iterable

# A line for each thing: what we call it comes first, then what other tools and scripts call it.
_ONE_THING = (
    ("lr", "learning_rate", "learningrate", "lrate", "step_size", "base_lr", "init_lr", "max_lr"),
    ("global_batch", "batch_size", "batchsize", "bs", "batch", "per_device_train_batch_size"),
    ("weight_decay", "wd", "weightdecay", "l2", "decay"),
    ("epochs", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs"),
    ("steps", "max_steps", "num_steps", "n_steps", "total_steps", "iterations", "iters"),
    ("optimizer", "optim", "opt", "optimiser"),
    ("betas", "beta", "beta1", "beta2", "adam_beta1", "adam_beta2"),
    ("eps", "epsilon", "adam_epsilon"),
    ("momentum", "mu"),
    ("schedule", "scheduler", "lr_scheduler", "lr_schedule", "lr_scheduler_type", "sched"),
    ("clip_norm", "grad_clip", "clip_grad", "max_grad_norm", "gradient_clip_val", "clip"),
    ("accumulate", "grad_accum", "gradient_accumulation_steps", "accumulate_grad_batches"),
    ("label_smoothing", "smoothing"),
    ("precision", "dtype", "amp", "mixed_precision"),
    ("augment", "augmentation", "augmentations", "transforms"),
    ("ema", "ema_decay", "model_ema"),
    ("model", "arch", "architecture", "net", "network", "backbone"),
    ("dataset", "data", "data_set", "task"),
    ("command", "cmd", "script", "run", "program"),
    ("train", "function", "fn", "train_fn"),
    ("metric", "monitor", "score"),
    ("goal", "mode", "direction"),
    ("options", "params", "arguments"),
    ("args", "arguments", "params"),
    ("results", "logs", "outputs", "output"),
    ("seeds", "seed", "num_seeds", "n_seeds", "repeats", "replicates"),
    ("seed", "random_seed", "rng_seed", "manual_seed"),
    ("ranks", "world_size", "num_processes", "nproc", "nproc_per_node"),
    ("gpus_per_node", "gpus", "num_gpus", "gpu"),
    ("cpus_per_task", "cpus", "num_cpus", "cores"),
    ("mem", "memory", "mem_gb", "ram"),
    ("time", "walltime", "timeout", "time_limit", "timeout_min"),
    ("study", "experiment", "experiment_name", "project"),
    ("workloads", "workload", "tasks", "datasets"),
    ("candidates", "candidate", "optimizers", "arms", "methods"),
    ("baseline", "control", "reference", "base"),
)


def find_other_name(written: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that stands for the thing which `written` names; None for none."""
    names, plain = list(known), _plain(written)
    things = [thing for thing in _ONE_THING if plain in thing]
    return next((n for thing in things for n in names if n in thing and n != written), None)


def find_close_name(written: str, known: Iterable[str], cutoff: float) -> str | None:
    """Return what is meant by `written`: another name of one thing, else the nearest spelling.

    `cutoff` is how alike the nearest has to be, from 0 to 1.
    """
    names = list(known)
    same = next((name for name in names if _plain(name) == _plain(written)), None)
    other = same or find_other_name(written, names)
    return other or next(iter(difflib.get_close_matches(written, names, 1, cutoff)), None)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").lstrip("_")
