"""How often the words of a comparison are wrong: thousands of simulated studies of known truth.

Every study is answered by the function that `thermolion compare` uses. Results are kept in
`benchmarks/error_rates.json`, cell by cell, and written into the tables of docs/error-rates.md.
Each study has a seed of its own, so that equal code gives equal tables on any number of cores.

    python -m benchmarks.error_rates
    python -m benchmarks.error_rates --cells 'gaussian/1x*' --studies 100 --dry
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from benchmarks.simulation.scenarios import COLUMNS, SCENARIOS, Scenario
from benchmarks.simulation.simulated_studies import Design
from benchmarks.simulation.tuned_studies import BY_LOOKS, EIGHT_SEEDS, TUNED, TunedScenario

RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "error-rates.md"

STUDIES, STUDIES_WITH_BAR, TUNED_WITH_BAR = 500, 4000, 2000
_BATCH_S = 10.0  # of simulation, about, before a worker reports


@dataclass(frozen=True)
class Cell:
    """A scenario and a size of study: one number in each of the tables."""

    scenario: Scenario | TunedScenario
    design: Design

    @property
    def name(self) -> str:
        return f"{self.scenario.name}/{self.design.label}"

    @property
    def studies(self) -> int:
        """How many studies are simulated."""
        if not self.has_bar:
            return STUDIES
        return TUNED_WITH_BAR if isinstance(self.scenario, TunedScenario) else STUDIES_WITH_BAR

    @property
    def has_bar(self) -> bool:
        if isinstance(self.scenario, TunedScenario):
            return self.scenario.has_bar
        return self.design.workloads in self.scenario.bars

    def simulate(self, first: int, count: int) -> "Tally":
        """Simulate studies from number `first` on; each is the same whenever it is simulated."""
        tally, begin = Tally(), time.process_time()
        for number in range(first, first + count):
            rng = np.random.default_rng([zlib.crc32(self.name.encode()), number])
            tally.add(self.scenario.simulate(rng, self.design))
        tally.seconds = time.process_time() - begin
        return tally


ROWS: Sequence[Scenario | TunedScenario] = (*SCENARIOS, *TUNED)
CELLS: Mapping[str, Cell] = {
    cell.name: cell
    for scenario in ROWS
    for design in scenario.designs
    for cell in (Cell(scenario, design),)
}


@dataclass
class Tally:
    """By measure, in how many of the studies that have it it held; `seconds` are of a core."""

    studies: int = 0
    held: Counter[str] = field(default_factory=Counter)
    of: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, judged: Mapping[str, bool]) -> None:
        self.studies += 1
        self.held.update(name for name, value in judged.items() if value)
        self.of.update(judged.keys())

    def merge(self, other: "Tally") -> None:
        self.studies += other.studies
        self.held.update(other.held)
        self.of.update(other.of)
        self.seconds += other.seconds

    def share(self, measure: str) -> tuple[float, float] | None:
        """Return a share and its standard error; None without a study that has the measure."""
        n = self.of[measure]
        if not n:
            return None
        share = self.held[measure] / n
        return share, (share * (1 - share) / n) ** 0.5

    def to_json(self) -> dict[str, object]:
        record: dict[str, object] = {"studies": self.studies, "seconds": round(self.seconds, 1)}
        return record | {name: [self.held[name], n] for name, n in sorted(self.of.items())}

    @staticmethod
    def from_json(record: Mapping[str, object]) -> "Tally":
        tally = Tally()
        for name, value in record.items():
            if isinstance(value, list):
                tally.held[name], tally.of[name] = value
        tally.studies, tally.seconds = int(str(record["studies"])), float(str(record["seconds"]))
        return tally


def read_results(path: Path = RESULTS) -> dict[str, Tally]:
    """Return what was simulated before, by cell."""
    if not path.exists():
        return {}
    return {name: Tally.from_json(one) for name, one in json.loads(path.read_text()).items()}


def _write_results(tallies: Mapping[str, Tally]) -> None:
    lines = [
        f"{json.dumps(name)}: {json.dumps(tallies[name].to_json())}"
        for name in CELLS
        if name in tallies
    ]
    RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _simulate(task: tuple[str, int, int]) -> tuple[str, Tally]:
    name, first, count = task
    return name, CELLS[name].simulate(first, count)


def run(studies: Mapping[str, int], workers: int) -> Iterator[tuple[str, Tally]]:
    """Simulate so many studies of each cell; yield the cells as they are finished."""
    # A study is too small for a second thread; workers are started anew so that this holds.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    tasks = [
        (name, first, min(batch, count - first))
        for name, count in studies.items()
        for batch in (_batch(CELLS[name].design),)
        for first in range(0, count, batch)
    ]
    tallies = {name: Tally() for name in studies}
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for name, part in pool.imap_unordered(_simulate, tasks):
            tallies[name].merge(part)
            if tallies[name].studies == studies[name]:
                yield name, tallies[name]


def _batch(design: Design) -> int:
    trials = design.workloads * design.seeds * (3 if design.looks else 1)
    return max(5, min(500, int(_BATCH_S * 1000 / trials)))


# Tables of the page, by the names of their places: the measure, the rows, the columns.
_EQUAL = [one for one in SCENARIOS if not (one.truth.final or one.peeks)]
_TRUE = [one for one in SCENARIOS if one.truth.final > 0.2]
TABLES: Mapping[str, tuple[str, Sequence[Scenario | TunedScenario], Sequence[Design]]] = {
    "false": ("false", [one for one in SCENARIOS if one not in _TRUE], COLUMNS),
    "equivalent": ("equivalent", SCENARIOS, COLUMNS),
    "covered": ("covered", [one for one in SCENARIOS if not one.peeks], COLUMNS),
    "power": ("right", _TRUE, COLUMNS),
    "sign": ("false", _TRUE, COLUMNS),
    "speed": ("speed", SCENARIOS, COLUMNS),
    "divergence": ("divergence", SCENARIOS, COLUMNS),
    "datasets": ("datasets", _EQUAL, [one for one in COLUMNS if one.workloads > 4]),
    "workload": ("workload", _EQUAL, [one for one in COLUMNS if one.workloads > 1]),
    "tuned": ("false", TUNED, (*EIGHT_SEEDS, *BY_LOOKS)),
    "tuned_covered": ("covered", TUNED, (*EIGHT_SEEDS, *BY_LOOKS)),
}


def make_table(name: str, tallies: Mapping[str, Tally]) -> str:
    """Return one table of the page in Markdown; a cell is a percentage and its standard error."""
    measure, scenarios, designs = TABLES[name]
    lines = []
    for scenario in scenarios:
        cells = [_cell(scenario, design, measure, tallies) for design in designs]
        if any(cells):
            lines.append(f"| {scenario.title} | {' | '.join(one or '-' for one in cells)} |")
    heads = [f"{one.workloads} x {'looks' if one.looks else one.seeds}" for one in designs]
    head = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    return "\n".join([*head, *lines])


def _cell(
    scenario: Scenario | TunedScenario,
    design: Design,
    measure: str,
    tallies: Mapping[str, Tally],
) -> str:
    name = f"{scenario.name}/{design.label}"
    share = tallies[name].share(measure) if name in tallies else None
    if share is None:
        return ""
    text = f"{100 * share[0]:.1f} ± {100 * share[1]:.1f}"
    return f"**{text}**" if measure == "false" and CELLS[name].has_bar else text


def counted(tallies: Mapping[str, Tally]) -> str:
    """Say how many studies the cells are of, and how long they took."""
    sizes: dict[int, list[str]] = {}
    for name, tally in tallies.items():
        sizes.setdefault(tally.studies, []).append(name)
    minutes = sum(one.seconds for one in tallies.values()) / 60
    lines = [f"- {size:,} studies: {_listed(sizes[size])}" for size in sorted(sizes, reverse=True)]
    short = sum(one.studies < CELLS[name].studies for name, one in tallies.items())
    if short or len(tallies) < len(CELLS):
        missing = f"{len(CELLS) - len(tallies)} of {len(CELLS)} cells are not simulated yet"
        lines += [
            "",
            f"{missing}, {short} with fewer studies than is usual: `--missing` does them.",
        ]
    total = sum(one.studies for one in tallies.values())
    return "\n".join([*lines, "", f"In all {total:,} studies, {minutes:.0f} minutes of one core."])


def _listed(names: Sequence[str]) -> str:
    rows: dict[str, list[str]] = {}
    for name in names:
        row, design = name.split("/")
        rows.setdefault(row, []).append(design)
    if len(names) > 40:
        return f"{len(names)} cells"
    return "; ".join(f"{row} {', '.join(designs)}" for row, designs in rows.items())


def write_page(tallies: Mapping[str, Tally], page: Path = PAGE) -> None:
    """Write all tables into their places on the page."""
    text = page.read_text()
    parts = {name: make_table(name, tallies) for name in TABLES} | {"counted": counted(tallies)}
    for name, part in parts.items():
        mark = f"<!-- {name} -->"
        place = re.compile(rf"({re.escape(mark)}\n).*?(\n<!-- end -->)", re.DOTALL)
        if not place.search(text):
            raise SystemExit(f"{page} has no place for {mark}: write it, and <!-- end --> below")
        # Markdown wants an empty line between a comment and a table.
        text = place.sub(rf"\g<1>\n{part}\n\g<2>", text)
    page.write_text(text)


def _select(patterns: Sequence[str]) -> Iterable[Cell]:
    chosen = [cell for name, cell in CELLS.items() if any(fnmatch(name, one) for one in patterns)]
    if not chosen:
        rows = ", ".join(dict.fromkeys(cell.scenario.name for cell in CELLS.values()))
        sys.exit(f"no cell is called {' or '.join(patterns)}: ROW/COLUMN, rows are {rows}")
    return chosen


def main() -> None:
    """Simulate cells, keep their results, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=["*"], metavar="ROW/COLUMN")
    parser.add_argument("--studies", type=int, help="of every cell, in place of its own number")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--missing", action="store_true", help="only cells with fewer studies")
    parser.add_argument("--dry", action="store_true", help="print, and keep nothing")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    given = parser.parse_args()
    kept = {name: one for name, one in read_results().items() if name in CELLS}
    wanted = {one.name: given.studies or one.studies for one in _select(given.cells)}
    if given.missing:
        done = {name: one.studies for name, one in kept.items()}
        wanted = {name: count for name, count in wanted.items() if done.get(name, 0) < count}
    if given.page:
        wanted = {}
    begin = time.perf_counter()
    for number, (name, tally) in enumerate(run(wanted, given.workers), 1):
        shares = {one: tally.share(one) for one in sorted(tally.of)}
        told = ", ".join(f"{n} {100 * s[0]:.1f}±{100 * s[1]:.1f}" for n, s in shares.items() if s)
        each = 1000 * tally.seconds / tally.studies
        print(
            f"{time.perf_counter() - begin:6.0f} s {number}/{len(wanted)} {name}: "
            f"{tally.studies} studies of {each:.0f} ms: {told}",
            flush=True,
        )
        if not given.dry:
            kept[name] = tally
            _write_results(kept)
    if not given.dry:
        write_page(kept)


if __name__ == "__main__":
    main()
