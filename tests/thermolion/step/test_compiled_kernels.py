"""What the fused step becomes on a GPU, as compiled for compute capability 9.0, without one."""

import importlib.util
import os
from typing import Any

import pytest

if importlib.util.find_spec("triton") is None:
    if "triton" in os.environ.get("REQUIRE", "").split(","):
        raise ModuleNotFoundError("REQUIRE names triton, and the package is not installed")
    pytest.skip("needs the package triton", allow_module_level=True)

from compiled_kernels import compile_kernel
from triton import language

from thermolion.step import triton_kernel

PLAIN = dict.fromkeys(
    (
        *("has_own_gate", "has_bound", "gives_directions"),
        *("has_lr_tensor", "has_grad_scale", "has_found_inf"),
    ),
    False,
)


@pytest.mark.parametrize("noise", [False, True])
def test_a_step_reads_and_writes_16_bytes_at_once_with_at_most_64_registers(noise: bool) -> None:
    kernel = compile_kernel(
        triton_kernel.step_rows, element=language.float32, has_noise=noise, **PLAIN
    )
    assert kernel.registers <= 64
    assert kernel.spilled == 0
    # p, g, m, v and p, m, v, in a loop over the halves of a row; words of the noise as well.
    assert kernel.accesses["LDG.E.128"] >= (8 if noise else 4)
    assert kernel.accesses["STG.E.128"] == 3


def test_a_scaled_step_of_a_half_type_keeps_to_64_registers() -> None:
    options: dict[str, Any] = {**PLAIN, "has_grad_scale": True, "has_found_inf": True}
    kernel = compile_kernel(
        triton_kernel.step_rows,
        **{**options, "element": language.float16, "has_noise": True, "has_bound": True},
    )
    assert kernel.registers <= 64
    assert kernel.accesses["STG.E.64"] == 3


@pytest.mark.parametrize("element", [language.float32, language.float16])
def test_no_clamp_takes_a_nan_for_a_number(element: Any) -> None:
    # numpy, by which Triton's interpreter clamps, keeps NaN: only the compiled kernel tells.
    options: dict[str, Any] = {**PLAIN, "has_bound": element == language.float16}
    kernel = compile_kernel(
        triton_kernel.step_rows, **{**options, "element": element, "has_noise": False}
    )
    assert kernel.clamps == 0


def test_the_sum_of_squares_reads_16_bytes_at_once_and_the_count_is_small() -> None:
    for element in (language.float32, language.bfloat16):
        kernel = compile_kernel(triton_kernel.square_rows, element=element, has_grad_scale=False)
        assert kernel.registers <= 64
        assert kernel.spilled == 0
        assert kernel.accesses["LDG.E.128"] == (2 if element == language.float32 else 1)
    kernel = compile_kernel(triton_kernel.count_steps, has_noise=True, has_found_inf=True)
    assert kernel.registers <= 64
    assert kernel.spilled == 0
