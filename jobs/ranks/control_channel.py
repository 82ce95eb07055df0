"""What the ranks of a lane say to each other: values that all exchange, and how trials end.

A thread listens, so that a rank learns of trouble while it waits in a collective of tensors, which
is then broken off. No tensor travels here; how the ranks have met is `jobs.ranks.rendezvous`.
"""

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
from jobs.ranks.group import Broken
from jobs.ranks.rendezvous import Star

_CLOSING_S = 5.0
# From trouble to the end of the trial on all ranks: gloo was seen to leave one of eight waiting on
# connections that were closed. Long enough for a rank that is evaluating, and hears of it after.
_TROUBLE_S = 300.0


class ControlChannel:
    """The other ranks, as one rank sees them. Every method is called by all ranks alike.

    `break_off` is called where a trial cannot go on, from whichever thread hears of it first.
    """

    def __init__(
        self, rank: int, size: int, star: Star, silence_s: float, break_off: Callable[[], None]
    ) -> None:
        self.rank, self.size = rank, size
        self.gone: set[int] = set()
        self.in_trouble = False
        self._star, self._silence_s, self._break_off = star, silence_s, break_off
        self._trial = 0  # what is said of another one comes too late, and is dropped
        self._values: dict[int, deque[tuple[str, Any]]] = {other: deque() for other in star}
        self._endings: dict[int, Ending] = {}
        self.leaving = False
        self._verdict: tuple[bool, set[int]] | None = None
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def exchange(self, what: str, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank; `what` tells one exchange from another.

        Raises Broken where another rank has left the trial, RuntimeError where one is somewhere
        else in it or does not come in time.
        """
        if self.rank:
            self._send(0, "value", what, value)
            values: list[Any] = self._next(0, what)
            return values
        values = [value] + [self._next(other, what) for other in range(1, self.size)]
        for other in self._star:
            self._send(other, "value", what, values)
        return values

    def gather(self, what: str, value: Any) -> list[Any] | None:
        """Return the values of all ranks on rank 0; the others go on at once, and get None."""
        if self.rank:
            self._send(0, "value", what, value)
            return None
        return [value] + [self._next(other, what) for other in range(1, self.size)]

    def end(self, ending: Ending) -> tuple[dict[int, Ending], set[int], bool]:
        """Say how the trial has ended here; return how everywhere, once all have said it.

        On rank 0 the endings by rank, the earliest first; on the others none. Then, on all ranks
        alike, who has died, and whether there was trouble: the group of the tensors is broken.
        Raises Broken where rank 0 has died.
        """
        if self.rank:
            ending = replace(ending, metrics=None)  # those of rank 0 count
            self._send(0, "trouble" if ending.abrupt else "ended", "", ending)
            with self._changed:
                # Rank 0 itself waits for the slowest.
                self._wait(lambda: self._verdict is not None or 0 in self.gone, 2)
                verdict, self._verdict = self._verdict, None
            if verdict is None:
                raise Broken("rank 0 has died")
            trouble, gone = verdict
            return {}, gone, trouble
        if ending.abrupt:
            self._take(0, "trouble", "", ending)
        with self._changed:
            self._endings.setdefault(0, ending)
            self._wait(lambda: self._all_ended() or self.in_trouble)
            self._changed.wait_for(self._all_ended, min(_TROUBLE_S, self._silence_s))
            self.gone |= set(range(self.size)) - set(self._endings)  # the silent ones as well
            endings, trouble, gone = self._endings, self.in_trouble, set(self.gone)
            # The others are still in this trial, and send nothing before they hear of its end.
            last = self._trial, "verdict", "", (trouble, gone)
            self._next_trial()
        for other in self._star:
            self._put(other, last)
        return endings, gone, trouble

    def close(self) -> None:
        """Leave the others: they see that this rank has gone."""
        self.leaving = True
        for connection in self._star.values():
            with socket.socket(fileno=dup(connection.fileno())) as same:
                try:
                    same.shutdown(socket.SHUT_WR)
                except OSError:
                    continue  # it went first
        self._listener.join(_CLOSING_S)
        for connection in self._star.values():
            connection.close()

    def _next(self, other: int, what: str) -> Any:
        """Return what another rank says next."""
        values = self._values[other]
        with self._changed:
            came = self._wait(
                lambda: values or self.in_trouble or other in self.gone or other in self._endings
            )
            if values:
                said, value = values.popleft()
                if said == what:
                    return value
                raise RuntimeError(
                    f"rank {self.rank} is in {what}, rank {other} in {said}: every rank has to "
                    "call them alike"
                )
            if self.in_trouble or other in self.gone:
                raise Broken(f"another rank has left while rank {self.rank} was in {what}")
        raise RuntimeError(
            f"rank {self.rank} is in {what}, rank {other} "
            + ("has ended its training" if came else f"has said nothing for {self._silence_s} s")
            + ": every rank has to call it alike"
        )

    def _all_ended(self) -> bool:
        return len(self._endings | dict.fromkeys(self.gone)) == self.size

    def _wait(self, condition: Callable[[], Any], times: int = 1) -> bool:
        return bool(self._changed.wait_for(condition, times * self._silence_s))

    def _send(self, other: int, kind: str, what: str, value: Any) -> None:
        self._put(other, (self._trial, kind, what, value))

    def _put(self, other: int, message: tuple[int, str, str, Any]) -> None:
        try:
            with self._sending:
                # Not `send`, which would hand tensors on by the memory that this host shares.
                self._star[other].send_bytes(pickle.dumps(message))
        except OSError:
            self._lose(other)

    def _listen(self) -> None:
        ranks = {connection: rank for rank, connection in self._star.items()}
        while ranks:
            ready: list[Any] = wait(list(ranks))
            for connection in ready:
                rank = ranks[connection]
                try:
                    trial, *said = pickle.loads(connection.recv_bytes())
                except (EOFError, OSError):
                    del ranks[connection]
                    self._lose(rank)
                    continue
                if trial == self._trial:
                    self._take(rank, *said)

    def _take(self, rank: int, kind: str, what: str, value: Any) -> None:
        with self._changed:
            news = kind == "trouble" and not self.in_trouble
            if kind == "value":
                self._values[rank].append((what, value))
            elif kind == "verdict":
                self.gone |= value[1]
                self._next_trial()
                self._verdict = value
            elif value is not None:
                self._endings.setdefault(rank, value)
            self.in_trouble = self.in_trouble or news
            self._changed.notify_all()
        if news:
            self._spread()

    def _lose(self, rank: int) -> None:
        with self._changed:
            self.gone.add(rank)
            news = not self.in_trouble and not self.leaving
            self.in_trouble = True
            self._changed.notify_all()
        if news:
            self._spread()

    def _spread(self) -> None:
        """Have nobody wait for a trial that cannot go on."""
        if self.rank == 0:
            for other in self._star.keys() - self.gone:
                self._send(other, "trouble", "", None)
        self._break_off()

    def _next_trial(self) -> None:
        self._trial += 1
        self._endings = {}
        self.in_trouble = bool(self.gone)
        for values in self._values.values():
            values.clear()
