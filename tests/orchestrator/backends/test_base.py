"""The backends that a sweep may name: all can be loaded, and none lacks a method."""

from typing import get_args

import pytest

from orchestrator.backends.base import BACKENDS, Backend, backend_of
from orchestrator.backends.local import LocalBackend
from orchestrator.sweep.keys import RayKeys
from orchestrator.sweep.sweep import SweepFile


def test_a_sweep_may_name_the_backends_that_there_are():
    assert set(get_args(SweepFile.model_fields["backend"].annotation)) == set(BACKENDS)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_has_all_methods(name):
    assert isinstance(backend_of(SweepFile.model_construct(backend=name)), Backend)


def test_ray_on_slurm_has_all_methods():
    keys = SweepFile.model_construct(backend="ray", ray=RayKeys(on="slurm"))
    assert isinstance(backend_of(keys), Backend)


def test_a_backend_that_cannot_cancel_is_refused():
    deaf = type("Deaf", (LocalBackend,), {"cancel": Backend.cancel})
    with pytest.raises(TypeError, match="cancel"):
        deaf()
