"""Who answers a question about a site: its commands, or a folder in which they were recorded.

A recording has a file a question: `NAME.txt` with what was printed, or `NAME.error` with why not.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.whole_file import write_whole
from slurm import commands
from slurm.slurm_errors import SlurmError

# Takes the name of a question and its command; raises SlurmError where there is no answer.
Ask = Callable[[str, Sequence[str]], str]


def live(_name: str, command: Sequence[str]) -> str:
    """Ask the site."""
    return commands.ask(command)


def recording(folder: Path) -> Ask:
    """Return somebody who asks the site, and leaves every answer in a folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def asked(name: str, command: Sequence[str]) -> str:
        try:
            said = live(name, command)
        except SlurmError as error:
            write_whole(folder / f"{name}.error", f"{error}\n")
            raise
        write_whole(folder / f"{name}.txt", said)
        return said

    return asked


def recorded(folder: Path) -> Ask:
    """Return somebody who knows what was recorded, and nothing else."""

    def asked(name: str, command: Sequence[str]) -> str:
        refused = folder / f"{name}.error"
        if refused.is_file():
            raise SlurmError(refused.read_text().strip())
        try:
            return (folder / f"{name}.txt").read_text()
        except FileNotFoundError as error:
            raise SlurmError(
                f"{folder} has no {name}.txt: record it there with {' '.join(command)}"
            ) from error

    return asked
