"""ThermoLion's step given to torch.compile, in every form: the bits are those without it."""

from typing import Any

import pytest
import torch
from regression import FORMS, closure_of, new_model, same, train

from thermolion import ThermoLion

# Of what torch's compiler imports, and looks at.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("form", [*FORMS, {"noise": False}], ids=str)
def test_a_compiled_step_in_any_form_is_the_step(form: dict[str, Any]) -> None:
    one, other = new_model(), new_model()
    torch._dynamo.reset()
    optimizer, reference = (ThermoLion(each.parameters(), **form) for each in (one, other))
    step = torch.compile(optimizer.step, backend="eager")
    closure = closure_of(one, optimizer)
    for _ in range(3):
        closure()
        step()
    train(other, reference, 3)
    assert same(one, other)


def test_a_whole_training_step_may_be_compiled_with_the_optimizer_in_it() -> None:
    one, other = new_model(), new_model()
    torch._dynamo.reset()
    optimizer, reference = (ThermoLion(each.parameters()) for each in (one, other))
    closure = closure_of(one, optimizer)

    @torch.compile(backend="eager")
    def take_step() -> None:
        closure()
        optimizer.step()

    for _ in range(3):
        take_step()
    train(other, reference, 3)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_a_compiled_model_is_still_compiled_in_a_closure() -> None:
    model = new_model()
    torch._dynamo.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    optimizer = ThermoLion(model.parameters())

    def closure() -> float:
        optimizer.zero_grad()
        loss = compiled(torch.ones(2, 8)).square().mean()
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
    assert len(graphs) == 1
