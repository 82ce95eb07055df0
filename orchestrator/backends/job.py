"""The processes of one pack on this machine: one a rank, which end together.

Starts none of them: that is the pool's.
"""

import signal
import subprocess
import time
from collections.abc import Sequence

# From the end of one rank by a signal or an error to that of the others. They leave by themselves,
# at once, unless they hang in something that does not hear of it, such as a kernel on a GPU.
_GRACE_S = 20.0


class Job:
    """The ranks of a pack; `places` are what they take up of the machine."""

    def __init__(
        self, pack: int, places: Sequence[int], ranks: Sequence["subprocess.Popen[bytes]"]
    ) -> None:
        self.pack, self.places = pack, places
        self._ranks = ranks
        self._alone_since: float | None = None

    def poll(self, stop: bool) -> int | None:
        """Return the exit code of the pack once no rank lives; ask all to end where `stop` is set.

        It is that of rank 0, which knows how the trials have ended, or where it knows of nothing
        bad, that of the first other rank to which something has happened.
        """
        codes = [rank.poll() for rank in self._ranks]
        living = [rank for rank, code in zip(self._ranks, codes, strict=True) if code is None]
        if not living:
            return codes[0] or next((code for code in codes if code), 0)
        if stop:
            _signal(living, signal.SIGTERM)
        if any(codes):
            self._alone_since = self._alone_since or time.monotonic()
            alone_s = time.monotonic() - self._alone_since
            if alone_s > _GRACE_S:
                _signal(living, signal.SIGKILL if alone_s > 2 * _GRACE_S else signal.SIGTERM)
        return None


def _signal(ranks: Sequence["subprocess.Popen[bytes]"], number: signal.Signals) -> None:
    for rank in ranks:
        rank.send_signal(number)
