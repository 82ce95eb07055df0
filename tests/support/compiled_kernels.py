"""Compiles the Triton kernels for a GPU that need not be there, and reads what became of them."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from thermolion.step.fused import LAUNCH

_POINTERS = {
    **dict.fromkeys(("pointers", "owners", "numbers", "counts", "starts"), "*i64"),
    **dict.fromkeys(("words", "keys", "streams"), "*i32"),
    **dict.fromkeys(("squares", "scales", "lr_tensor", "grad_scale", "found_inf"), "*fp32"),
}


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel: registers a thread, bytes of them that were spilled to memory.

    `accesses` are its instructions that read or write global memory, `LDG.E.128` and the like;
    `clamps` says how many there are that find the smaller or the larger of two numbers, which is
    the other one if one is NaN.
    """

    registers: int
    spilled: int
    accesses: dict[str, int]
    clamps: int


def compile_kernel(kernel: Any, **constants: Any) -> Compiled:
    """Compile a kernel for compute capability 9.0 as it is launched; other arguments are plain."""
    signature, divisible = {}, {}
    for place, parameter in enumerate(kernel.params):
        name = parameter.name
        plain = "i32" if name == "tensors" else "fp32"
        signature[name] = "constexpr" if parameter.is_constexpr else _POINTERS.get(name, plain)
        if name in _POINTERS:  # whatever torch allocates lies on 16 bytes
            divisible[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, divisible)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=LAUNCH)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = _run(knobs.nvidia.cuobjdump.path, "-res-usage", file.name)
        listing = _run(knobs.nvidia.nvdisasm.path, "-c", file.name)
    accesses: dict[str, int] = {}
    for word in re.findall(r"\b(?:LDG|STG)[A-Z0-9_.]*", listing):
        accesses[word] = accesses.get(word, 0) + 1
    registers, stack = (int(re.findall(rf"{word}:(\d+)", usage)[0]) for word in ("REG", "STACK"))
    clamps = re.findall(r"\bFMNMX[A-Z0-9_.]*", listing)
    return Compiled(registers, stack, accesses, sum(".NAN" not in word for word in clamps))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
