"""The fused step in Triton's interpreter, which runs the kernel on the CPU: its arithmetic.

What a GPU makes of it (speed, its own exp, log, sin and cos) is not looked at here.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "support" / "fused_steps.py"


def test_fused_steps_in_the_interpreter_are_those_of_the_for_loop() -> None:
    if importlib.util.find_spec("triton") is None:
        reason = "needs the package triton"
        if "triton" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    # Triton reads the variable when it is imported: a process of its own.
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
