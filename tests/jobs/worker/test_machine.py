"""What a trial uses of its machine: the processes that it has started count as well."""

import subprocess
import sys
import time

import torch

from jobs.worker.machine import Usage

# Holds 300 MB, works for a second, waits for us.
BUSY = """\
import sys, time
held = bytearray(300_000_000)
end = time.process_time() + 1
while time.process_time() < end:
    pass
print("done", flush=True)
sys.stdin.read()
"""


def test_processes_that_a_trial_has_started_count():
    usage = Usage(torch.device("cpu"))
    begin = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        took = time.monotonic() - begin
        used = usage.sample(now=True)
        assert used is not None
        child.stdin.close()
    assert used["process_memory_usage_megabytes"] > 280
    assert used["process_cpu_utilization_percentage"] > 80 / took
    assert set(used) == {"process_memory_usage_megabytes", "process_cpu_utilization_percentage"}
    ended = usage.sample(now=True)
    assert ended is not None
    assert ended["process_memory_usage_megabytes"] < used["process_memory_usage_megabytes"] - 280
    assert ended["process_cpu_utilization_percentage"] >= 0


def test_samples_are_ten_seconds_apart(monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr("jobs.worker.machine.time.monotonic", lambda: now)
    usage = Usage(torch.device("cpu"))
    taken = []
    for _ in range(25):
        now += 1.0
        taken.append(usage.sample() is not None)
    assert [second for second, was in enumerate(taken, 1) if was] == [10, 20]
