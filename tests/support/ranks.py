"""Real processes of a gloo group that run one function, and what each of them returns."""

import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from forks import CONTEXT, fork


def run_ranks(
    program: Callable[..., Any], world_size: int, *arguments: Any, seconds: float = 600
) -> list[Any]:
    """Run `program(rank, *arguments)` in `world_size` processes; return their results by rank.

    `program` is a function of a module that can be imported. The first rank that fails, or the
    time being over, ends all of them and fails the test.
    """
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for rank in range(world_size):
            mine, theirs = CONTEXT.Pipe(duplex=False)
            store = Path(folder) / "store"
            told = (theirs, store, program, rank, world_size, arguments)
            process = fork(_rank, *told, daemon=True)
            theirs.close()
            pipes.append(mine)
            processes.append(process)
        try:
            return _results(pipes, time.monotonic() + seconds)
        finally:
            for process in processes:
                process.join(timeout=5)
                if process.is_alive():
                    process.kill()
                    process.join()


def _results(pipes: list[Connection], end: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(pipes):
        ready = wait(
            [pipe for rank, pipe in enumerate(pipes) if rank not in results],
            timeout=max(0.0, end - time.monotonic()),
        )
        missing = sorted(set(range(len(pipes))) - results.keys())
        assert ready, f"ranks {missing} did not end in time"
        for pipe in ready:
            rank = pipes.index(pipe)
            try:
                error, results[rank] = pickle.loads(pipe.recv_bytes())
            except EOFError:
                error = "it ended without a word"
            assert error is None, f"rank {rank}: {error}"
    return [results[rank] for rank in range(len(pipes))]


def _rank(
    pipe: Connection,
    store: Path,
    program: Callable[..., Any],
    rank: int,
    world_size: int,
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1000 + rank)  # whatever is drawn from here on differs between ranks
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=300),
        )
        said = (None, program(rank, *arguments))
    except BaseException:
        said = (traceback.format_exc(), None)
    # By value: torch's own pickling of tensors refers to the memory of a process that ends.
    pipe.send_bytes(pickle.dumps(said))
    if said[0] is None:
        dist.destroy_process_group()
