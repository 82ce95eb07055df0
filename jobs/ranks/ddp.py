"""Several ranks that train one trial: torch's process group for tensors, a channel for the rest.

The process group is made anew after a trial that broke off. Decisions and ends of trials go
through `jobs.ranks.control_channel`.
"""

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.nn.parallel import DistributedDataParallel

from jobs.ranks.control_channel import ControlChannel
from jobs.ranks.ending import Ending, judge_endings
from jobs.ranks.group import RankGroup
from jobs.ranks.launch import Launch
from jobs.ranks.rendezvous import connect, listen

TCPStore: Any = dist.TCPStore  # type: ignore[attr-defined]  # torch does not list what it exports
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class DistributedGroup(RankGroup):
    """One rank among several, connected to the others; raises RendezvousError if that fails."""

    def __init__(self, launch: Launch) -> None:
        assert launch.rendezvous is not None
        self.rank, self.size = launch.rank, launch.world_size
        self._launch, self._rendezvous = launch, launch.rendezvous
        if self._rendezvous.host == "127.0.0.1":  # no name of this host has to resolve, then
            os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
        self._gpu: torch.device | None = None
        if launch.device == "cuda":
            self._gpu = torch.device("cuda", launch.device_index or 0)
        self._sockets: dict[int, int] = {}
        self._groups = 0
        connections = connect(launch, launch.rendezvous)
        self._channel = ControlChannel(
            self.rank, self.size, connections, self._rendezvous.silence_s, self._abort
        )
        self._store = self._make_store()
        self._make_process_group()

    def exchange(self, what: str, value: Any) -> list[Any]:
        return self._channel.exchange(what, value)

    def gather(self, what: str, value: Any) -> list[Any] | None:
        return self._channel.gather(what, value)

    def broadcast_last(self, value: Any) -> None:
        self._channel.is_leaving = True  # the death of a rank no longer matters
        self.broadcast(value)

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        # Not torch's broadcast of objects: gloo checks no key, so nothing from it is unpickled.
        length = self.broadcast(None if data is None else len(data))
        if length is None:
            return None
        whole = torch.empty(length, dtype=torch.uint8)
        if data is not None and self.rank == 0:
            whole.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(whole, src=0)
        return whole.numpy().tobytes()

    def sum(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def broadcast_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)

    def wrap(self, model: nn.Module) -> nn.Module:
        # Buffers (statistics of normalisations) follow rank 0 at every step. A parameter without a
        # gradient is refused by torch: to look for them would cost a walk through every graph.
        devices = None if self._gpu is None else [self._gpu]
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync()

    def end(self, ending: Ending) -> Ending | None:
        endings, dead, is_broken = self._channel.end(ending)
        if is_broken and not dead:
            self._make_process_group()
        return judge_endings(endings, dead) if self.rank == 0 else None

    @property
    def has_lost_rank(self) -> bool:
        return bool(self._channel.dead)

    @property
    def is_broken(self) -> bool:
        return self._channel.is_broken

    def environment(self) -> Mapping[str, str]:
        with listen(self._rendezvous.host) as free:  # until the program takes it
            port = free.getsockname()[1]
        address, port = self.broadcast((self._rendezvous.host, port))
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self._launch.local_rank),
            "LOCAL_WORLD_SIZE": str(self._launch.local_world_size),
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
        }

    def leave(self) -> None:
        self._channel.close()
        if dist.is_initialized():
            dist.destroy_process_group()

    def _make_store(self) -> Any:
        """Return the store of torch through which the ranks make their process groups."""
        descriptor = port = None
        if self.rank == 0:
            server = listen(self._rendezvous.host)
            port, descriptor = server.getsockname()[1], server.detach()
        return TCPStore(
            *self.broadcast((self._rendezvous.host, port)),
            world_size=self.size,
            is_master=self.rank == 0,
            timeout=timedelta(seconds=self._rendezvous.timeout_s),
            wait_for_workers=False,
            master_listen_fd=descriptor,
        )

    def _make_process_group(self) -> None:
        """Make torch's process group; a broken one is destroyed first."""
        if dist.is_initialized():
            dist.destroy_process_group()
        self._groups += 1
        before = _find_sockets()
        dist.init_process_group(
            _BACKENDS[self._launch.device],
            store=PrefixStore(f"{self._groups}", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=self._rendezvous.silence_s),
            device_id=self._gpu,
        )
        self._sockets = dict(_find_sockets().items() - before.items())
        if self._channel.is_broken:
            self._abort()

    def _abort(self) -> None:
        """Make every collective fail, here and on the other ranks, also one that is waiting now.

        gloo has no call for that, but fails when its connections are closed; references to the
        process group (from an optimizer, a traceback) would keep them open.
        """
        # Why not let the process die and start the lane anew: one bad trial would end the lane
        # for all that follow, and cost a place in the queue of a cluster, while now the next trial
        # begins at once on the same ranks
        # (test_trials_that_fail_on_several_ranks_do_not_affect_the_next).
        # Why not `abort`, as for NCCL below: torch 2.13's gloo has one that does nothing.
        for descriptor, inode in self._sockets.items():
            with contextlib.suppress(OSError):  # it has been closed, or is no connection
                if os.fstat(descriptor).st_ino == inode:
                    with socket.socket(fileno=os.dup(descriptor)) as same:
                        # A listening socket has no peer, and its shutdown would end the process.
                        ends = same.getsockname()[1], same.getpeername()[1]
                        if self._store.port not in ends:
                            same.shutdown(socket.SHUT_RDWR)
        self._sockets = {}
        group = dist.group.WORLD
        if self._gpu is not None and group is not None:
            group._get_backend(self._gpu).abort()


def _find_sockets() -> dict[int, int]:
    """Return the inodes of the sockets of this process, by descriptor."""
    inodes = {}
    for entry in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # of the descriptor of this listing
            status = os.fstat(int(entry.name))
            if stat.S_ISSOCK(status.st_mode):
                inodes[int(entry.name)] = status.st_ino
    return inodes
