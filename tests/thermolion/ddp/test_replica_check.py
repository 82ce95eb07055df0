"""Replicas compared by a hash of every parameter, in real processes."""

import pytest
import torch
from ranks import run_ranks
from verifications import TYPES, verifications, watched, wide_parameters

from thermolion.ddp.replica_check import fingerprint

EQUAL = ("layouts of equal values", "nothing", "a scalar and an empty tensor")


@pytest.fixture(scope="module", params=[2, 3])
def messages(request: pytest.FixtureRequest) -> list[dict[str, str]]:
    """Return the messages of each rank, by what was compared."""
    return run_ranks(verifications, request.param)


def test_equal_replicas_pass_with_nans_and_in_any_layout(messages: list[dict[str, str]]) -> None:
    for of_rank in messages:
        equal = [f"{dtype}: equal, with a NaN" for dtype in TYPES]
        assert [of_rank[what] for what in (*equal, *EQUAL)] == [""] * (len(TYPES) + len(EQUAL))


def test_one_bit_on_one_rank_fails_on_all_and_names_the_first_parameter(
    messages: list[dict[str, str]],
) -> None:
    for of_rank in messages:
        for dtype in TYPES:
            words = of_rank[f"{dtype}: one bit"]
            assert "differ in 2 of 6 parameters, the first is '1.bias'" in words


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("the sign of a zero", "zero"),
        ("two elements swapped", "long"),
        ("whole numbers", "count"),
        ("complex numbers", "phase"),
    ],
)
def test_differences_that_sums_and_comparisons_miss_are_found(
    messages: list[dict[str, str]], what: str, name: str
) -> None:
    for of_rank in messages:
        assert f"the first is {name!r}" in of_rank[what]


def test_replicas_may_be_compared_after_every_few_steps_of_any_optimizer() -> None:
    for of_rank in run_ranks(watched, 2):
        for step, words in of_rank:
            assert step == 4
            assert "the first is '1.weight'" in words


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.complex128, torch.int64, torch.float32, torch.bfloat16, torch.uint8],
    ids=str,
)
def test_a_parameter_keeps_its_bits_while_it_is_fingerprinted(dtype: torch.dtype) -> None:
    tensor = torch.arange(1, 300).to(dtype)
    before = tensor.clone()
    once, again = int(fingerprint(tensor)), int(fingerprint(tensor))
    assert torch.equal(tensor, before)
    assert once == again != int(fingerprint(torch.zeros_like(tensor)))


def test_parameters_of_eight_bytes_train_alike_with_and_without_verification() -> None:
    for without, verified, tensors in run_ranks(wide_parameters, 2):
        assert without == verified
        assert tensors == {"float64": True, "complex128": True, "int64": True}


def test_a_change_of_any_single_bit_changes_the_fingerprint() -> None:
    bits = torch.zeros(40, dtype=torch.int32)
    seen = {int(fingerprint(bits.view(torch.float32)))}
    for place in range(40):
        for bit in range(32):
            changed = bits.clone()
            changed[place] = 2**bit if bit < 31 else -(2**31)
            seen.add(int(fingerprint(changed.view(torch.float32))))
    assert len(seen) == 1 + 40 * 32
