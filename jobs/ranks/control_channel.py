"""The messages between the ranks of a lane: values that all exchange, and how trials end.

A thread listens, so that a rank learns of a failure while it waits in a collective of tensors,
which is then aborted. No tensor is sent here; how ranks connect is `jobs.ranks.rendezvous`.
"""

import contextlib
import pickle
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import wait
from os import dup
from typing import Any

from jobs.ranks.ending import Ending
from jobs.ranks.group import GroupBroken
from jobs.ranks.rendezvous import Connections

_CLOSING_S = 5.0
# From the first failure to the end of the trial on all ranks: gloo was seen to leave one of eight
# waiting on connections that were closed. Long enough for a rank that is evaluating meanwhile.
_FAILURE_S = 300.0


class ControlChannel:
    """The other ranks, as one rank sees them. Every method is called by all ranks alike.

    `abort` is called once a trial cannot go on, in the thread that learns of it first.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        connections: Connections,
        silence_s: float,
        abort: Callable[[], None],
    ) -> None:
        self.rank, self.size = rank, size
        self.dead: set[int] = set()
        self.is_broken = self.is_leaving = False
        self._connections, self._silence_s, self._abort = connections, silence_s, abort
        self._trial = 0  # a message about another trial comes too late, and is dropped
        self._values: dict[int, deque[tuple[str, Any]]] = {rank: deque() for rank in connections}
        self._endings: dict[int, Ending] = {}
        self._verdict: tuple[bool, set[int]] | None = None
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def exchange(self, what: str, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank; `what` tells one exchange from another.

        Raises GroupBroken if another rank has left the trial, RuntimeError if one is somewhere
        else in it or does not come in time.
        """
        values = self.gather(what, value)
        if values is None:
            return list(self._next(0, what))
        for other in self._connections:
            self._send(other, "value", what, values)
        return values

    def gather(self, what: str, value: Any) -> list[Any] | None:
        """Return the values of all ranks on rank 0; the others go on at once, and get None."""
        if self.rank:
            self._send(0, "value", what, value)
            return None
        return [value] + [self._next(other, what) for other in range(1, self.size)]

    def end(self, ending: Ending) -> tuple[dict[int, Ending], set[int], bool]:
        """Say how the trial has ended on this rank; return how everywhere, once all have said it.

        On rank 0 the endings by rank, in the order of arrival; on the others none. Then, on all
        ranks alike, the ranks that have died, and True if the trial was broken off: the process
        group of the tensors is unusable then. Raises GroupBroken if rank 0 has died.
        """
        if self.rank:
            ending = replace(ending, metrics=None)  # those of rank 0 count
            self._send(0, "broken" if ending.abrupt else "ended", value=ending)
            with self._changed:
                # Rank 0 itself waits for the slowest.
                self._wait(lambda: self._verdict is not None or 0 in self.dead, 2)
                verdict, self._verdict = self._verdict, None
            if verdict is None:
                raise GroupBroken("rank 0 has died")
            is_broken, dead = verdict
            return {}, dead, is_broken
        if ending.abrupt:
            self._receive(0, "broken", value=ending)
        with self._changed:
            self._endings.setdefault(0, ending)
            self._wait(lambda: self._have_all_ended() or self.is_broken)
            self._changed.wait_for(self._have_all_ended, min(_FAILURE_S, self._silence_s))
            self.dead |= set(range(self.size)) - set(self._endings)  # the silent ones as well
            endings, is_broken, dead = self._endings, self.is_broken, set(self.dead)
            # The others are still in this trial, and send nothing before they learn of its end.
            trial = self._trial
            self._begin_next_trial()
        for other in self._connections:
            self._send(other, "verdict", value=(is_broken, dead), trial=trial)
        return endings, dead, is_broken

    def close(self) -> None:
        """Leave the other ranks, which see that this one has left."""
        self.is_leaving = True
        for connection in self._connections.values():
            with (
                socket.socket(fileno=dup(connection.fileno())) as same,
                contextlib.suppress(OSError),  # the other side has closed it first
            ):
                same.shutdown(socket.SHUT_WR)
        self._listener.join(_CLOSING_S)
        for connection in self._connections.values():
            connection.close()

    def _next(self, other: int, what: str) -> Any:
        """Return the next value of another rank; raises like `exchange`."""
        values = self._values[other]
        with self._changed:
            in_time = self._wait(
                lambda: values or self.is_broken or other in self.dead or other in self._endings
            )
            if values:
                call, value = values.popleft()
                if call == what:
                    return value
                state = f"is in {call}"
            elif self.is_broken or other in self.dead:
                raise GroupBroken(f"another rank has left while rank {self.rank} was in {what}")
            elif in_time:
                state = "has ended its training"
            else:
                state = f"has sent nothing for {self._silence_s} s"
        raise RuntimeError(
            f"rank {self.rank} is in {what}, rank {other} {state}: every rank has to make the "
            "same calls"
        )

    def _have_all_ended(self) -> bool:
        return len(self._endings.keys() | self.dead) == self.size

    def _wait(self, condition: Callable[[], Any], times: int = 1) -> bool:
        return bool(self._changed.wait_for(condition, times * self._silence_s))

    def _send(
        self, other: int, kind: str, what: str = "", value: Any = None, trial: int | None = None
    ) -> None:
        message = self._trial if trial is None else trial, kind, what, value
        try:
            with self._sending:
                # Not `send`, which would hand tensors on by the memory that this host shares.
                self._connections[other].send_bytes(pickle.dumps(message))
        except OSError:
            self._receive(other, "died")

    def _listen(self) -> None:
        ranks = {connection: rank for rank, connection in self._connections.items()}
        while ranks:
            ready: list[Any] = wait(list(ranks))
            for connection in ready:
                try:
                    trial, *message = pickle.loads(connection.recv_bytes())
                except (EOFError, OSError):
                    self._receive(ranks.pop(connection), "died")
                    continue
                if trial == self._trial:
                    self._receive(ranks[connection], *message)

    def _receive(self, rank: int, kind: str, what: str = "", value: Any = None) -> None:
        """Take a message of another rank; the first of a failure is passed on to all."""
        with self._changed:
            breaks = kind in ("broken", "died") and not self.is_broken
            self.is_broken = self.is_broken or breaks
            if kind == "value":
                self._values[rank].append((what, value))
            elif kind == "verdict":
                self.dead |= value[1]
                self._begin_next_trial()
                self._verdict = value
            elif kind == "died":
                self.dead.add(rank)
            elif value is not None:
                self._endings.setdefault(rank, value)
            self._changed.notify_all()
        if breaks and not (kind == "died" and self.is_leaving):
            if self.rank == 0:
                for other in self._connections.keys() - self.dead:
                    self._send(other, "broken")
            self._abort()

    def _begin_next_trial(self) -> None:
        self._trial += 1
        self._endings = {}
        self.is_broken = bool(self.dead)
        for values in self._values.values():
            values.clear()
