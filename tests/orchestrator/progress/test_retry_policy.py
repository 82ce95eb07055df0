"""What has become of trials on this machine, by class, and what the sweep says follows from it."""

import json

import pytest
from processes import wait_for

from jobs.contract.failures import (
    JobEnd,
    classify_exception,
    classify_output,
    find_common_start_failure,
)
from orchestrator.backends.pool import find_pool

TRAIN = """\
import os, signal, time
from pathlib import Path
import torch

def full(trial, context):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

def die(trial, context):
    if not Path("GO").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    context.log(1, loss=0.5)

def well(trial, context):
    context.log(1, loss=0.5)

def wrong(trial, context):
    raise ValueError("never right")
"""
SWEEP = """\
study: odd
workloads: [{name: mine, train: "odd_ends:NAME", metric: loss}]
candidates: {a: {optimizer: sgd, lr: 0.1}}
seeds: 1
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Write a sweep of one of the trainings above, with more keys, and go to its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd_ends.py").write_text(TRAIN.replace("GO", str(tmp_path / "go")))

    def write(name, keys=""):
        path = tmp_path / "odd.yaml"
        path.write_text(SWEEP.replace("NAME", name) + keys)
        return path

    return write


def _trial(thermolion):
    (trial,) = json.loads(thermolion("status", "odd", "--json").out)["trials"]
    return trial


def test_a_gpu_without_memory_is_named(thermolion, odd):
    assert thermolion("run", odd("full")).code == 1
    assert _trial(thermolion)["class"] == "OOM_DEVICE"
    assert "[OOM_DEVICE on" in thermolion("status", "odd").out
    assert "1 trial in" in thermolion("retry", "odd", "--class", "OOM").out
    said = thermolion("retry", "odd", "--class", "NODE_FAIL")
    assert "nothing to retry" in said.out


def test_a_training_that_kills_its_process_is_given_up_in_the_end(thermolion, odd, tmp_path):
    sweep = odd("die", "failures: {lost: {retries: 1}}\n")
    assert thermolion("run", sweep).code == 1
    trial = _trial(thermolion)
    assert (trial["class"], trial["next"]) == ("LOST", "the next submit sends it (retry 1 of 1)")
    assert "was ended by signal 9" in trial["why"]
    assert thermolion("run", sweep).code == 1
    assert _trial(thermolion)["next"] == "left alone until `thermolion retry`"
    assert "1 failed or held, left alone" in thermolion("submit", sweep).out
    (tmp_path / "go").touch()
    assert "1 trial in" in thermolion("retry", "odd").out
    assert thermolion("run", "odd").code == 0


def test_an_exception_may_be_tried_again(thermolion, odd):
    sweep = odd("wrong", "failures: {user_error: {retries: 1}}\n")
    assert thermolion("run", sweep).code == 1
    assert "1 trial in" in thermolion("submit", sweep).out
    assert thermolion("run", sweep).code == 1
    assert "nothing to send" in thermolion("submit", sweep).out


def test_nobody_has_to_send_again_what_looks_after_itself(thermolion, odd, layout):
    sweep = odd("die", "failures: {lost: {retries: 2}, unattended: true}\n")
    assert thermolion("submit", sweep).code == 0
    layout = layout.__class__(layout.root, "odd")
    wait_for((layout.submission("0003") / "pool.json").exists)
    wait_for(lambda: find_pool(layout.submission("0003")) is None)
    assert len(list(layout.submissions.iterdir())) == 3
    assert _trial(thermolion)["next"] == "left alone until `thermolion retry`"


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("failures: {lots: {retries: 1}}", "choose from timeout"),
        ("failures: {lost: {retries: -1}}", "line 5: failures.lost.retries: -1 is not"),
        ("failures: {lost: {mem: 2}}", "choose from retries, backoff"),
        ("failures: {oom_host: {mem: 0.5}}", "failures.oom_host.mem: 0.5 is not"),
        ("failures: {node_fail: {exclude: long}}", "is no duration"),
        ("notify: {on: [done]}", "name a `command` or a `url`"),
        ("notify: {url: 'ftp://x'}", "is no address of a webhook"),
        ("notify: {command: x, on: [finished]}", "choose from done, held, failing"),
        ("notify: {command: x, timeout: 1h}", "up to 10min"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(thermolion, odd, keys, complaint):
    said = thermolion("submit", odd("well", f"{keys}\n"))
    assert said.code == 2
    assert complaint in said.err


@pytest.mark.parametrize(
    ("kind", "error", "failure"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate", "OOM_DEVICE"),
        ("RuntimeError", "CUDA error: out of memory\nCUDA kernel errors", "OOM_DEVICE"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when", "OOM_DEVICE"),
        ("AcceleratorError", "HIP error: out of memory", "OOM_DEVICE"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory", "OOM_HOST"),
        ("MemoryError", "", "OOM_HOST"),
        ("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed. ", "OOM_HOST"),
        ("OSError", "[Errno 12] Cannot allocate memory", "OOM_HOST"),
        ("ExitCode", "'x' was ended by signal SIGKILL; its last lines:\noom-kill", "OOM_HOST"),
        ("ExitCode", "'x' was ended by signal SIGKILL; its last lines:\n", "LOST"),
        ("ValueError", "out of range", "USER_ERROR"),
        ("RuntimeError", "CUDA error: device-side assert triggered", "USER_ERROR"),
        ("AcceleratorError", "CUDA error: an illegal memory access was encountered", "USER_ERROR"),
        ("AcceleratorError", "CUDA error: uncorrectable ECC error encountered", "GPU_FAULT"),
        ("RuntimeError", "rank 1: CUDA error: uncorrectable NVLink error detected", "GPU_FAULT"),
        (
            "RuntimeError",
            "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
            "GPU_FAULT",
        ),
        ("ExitCode", "'x' ended with exit code 1:\ncudaErrorDevicesUnavailable", "GPU_FAULT"),
        ("DistBackendError", "NCCL communicator was aborted: timed out after 60 s", "GPU_FAULT"),
        ("RuntimeError", "NCCL Error 1: unhandled cuda error", "USER_ERROR"),
        # As NCCL_DEBUG=INFO prints it before anything has gone wrong.
        (
            "CommandError",
            "exit code 1\nn1:8:8 [0] NCCL INFO NCCL_IB_TIMEOUT set by environment to 22.\nNo",
            "USER_ERROR",
        ),
    ],
)
def test_an_exception_tells_its_class(kind, error, failure):
    assert classify_exception(kind, error) == failure


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ("slurmstepd: error: *** JOB 4 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***", "TIMEOUT"),
        ("slurmstepd: error: *** STEP 4.0 ON n1 CANCELLED DUE TO PREEMPTION ***", "PREEMPTED"),
        ("error: *** JOB 4 ON n1 CANCELLED DUE TO NODE FAILURE, SEE SLURMCTLD LOG", "NODE_FAIL"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=4.batch", "OOM_HOST"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=4.0. Some of", "OOM_HOST"),
        ("slurmstepd: error: Job 4 exceeded memory limit (900 > 500), being killed", "OOM_HOST"),
        ("slurmstepd: error: *** JOB 4 ON n1 CANCELLED AT 2026-01-01T12:00:00 ***", "CANCELLED"),
        ("slurmstepd: error: *** STEP 4.0 ON n1 CANCELLED AT 2026-01-01T12:00:00 ***", None),
    ],
)
def test_what_a_job_has_printed_tells_its_class(line, failure):
    assert classify_output(f"step 1\n{line}\n") == failure


def test_a_fault_of_the_gpus_of_every_node_is_no_fault_of_the_hardware():
    faults = [JobEnd("GPU_FAULT", "no GPU", node, cause="no GPU") for node in ("n1", "n2", "n3")]
    assert find_common_start_failure([faults[0]] * 40, 3) is None  # one node, for 40 jobs
    assert find_common_start_failure(faults, 3) == faults[0]


def test_a_killed_command_is_not_taken_for_an_error_of_its_user(thermolion, odd, tmp_path):
    (tmp_path / "killed.sh").write_text("kill -9 $$\n")
    path = odd("well")
    command = 'command: "bash killed.sh {lr} {seed}"'
    path.write_text(path.read_text().replace('train: "odd_ends:well"', command))
    said = thermolion("run", path)
    assert said.code == 1, said.err
    assert _trial(thermolion)["class"] == "LOST"
