"""What is looked at before a job trusts its device: it is there, and computes right."""

from pathlib import Path

import pytest
import torch

from jobs.contract.layout import Layout
from jobs.contract.pack import Pack
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from jobs.lane import EXIT_GPU_FAULT, run_pack
from jobs.ranks.launch import Launch
from jobs.worker.device_check import find_fault

CPU = torch.device("cpu")


def test_a_device_that_computes_right_has_no_fault_and_no_number_is_drawn() -> None:
    before = torch.get_rng_state()
    assert find_fault(CPU) is None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", ["__matmul__", "sum"])
def test_a_result_that_is_wrong_by_one_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    right = getattr(torch.Tensor, method)
    calls = iter([1, 0, 0])  # the device is asked first
    monkeypatch.setattr(
        torch.Tensor, method, lambda *given, **how: right(*given, **how) + next(calls)
    )
    fault = find_fault(CPU)
    assert fault is not None
    assert "computes wrong" in fault


def test_a_device_that_raises_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr(torch, "arange", fail)
    assert "uncorrectable ECC" in str(find_fault(CPU))


def test_without_its_gpu_a_lane_leaves_before_the_first_trial_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    workload = ImageWorkload("digits", "digits", "mlp", epochs=1, global_batch=64)
    seeds = block_seeds(0, "compare", workload, 0, None)
    trial = Trial(workload, Candidate("a", "sgd", {"lr": 0.1}), "compare", 0, seeds)
    said: list[str] = []
    launch = Launch(device="cuda", on_gpu_fault=said.append)
    pack = Pack(Layout(tmp_path, "study"), "0001", 0, (trial,))
    assert run_pack(pack, launch) == EXIT_GPU_FAULT
    assert said == ["no GPU can be used here: torch sees none"]
    assert not pack.layout.events.exists()
