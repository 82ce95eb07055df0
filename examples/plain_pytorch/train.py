"""Train a small network on scikit-learn's digits: a loop as people write it."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

STEPS = 600
LAST = Path("last.pt")


def parts():
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(7))
    for part in shuffled.split([1200, 300, 297]):
        yield images[part], torch.tensor(digits.target)[part]


@torch.no_grad()
def accuracy(model, images, labels):
    return float((model(images).argmax(1) == labels).float().mean())


def train(trial, context):
    torch.manual_seed(context.seed("init"))
    (images, labels), validation, test = parts()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    optimizer = context.optimizer(model.parameters())
    step = 0
    state = context.load()
    if state is not None:
        step = state["step"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    while step < STEPS and not context.told_to_stop:
        chosen = torch.randint(len(images), (64,))
        loss = functional.cross_entropy(model.train()(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 50 == 0:
            context.log(step, val_accuracy=accuracy(model.eval(), *validation))
        if context.should_save():
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            context.save(state | {"step": step})
    return {"test_accuracy": accuracy(model.eval(), *test)}
