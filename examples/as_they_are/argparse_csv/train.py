#!/usr/bin/env python3
"""Train a classifier of digits; one row of `output/<experiment>/summary.csv` for every epoch."""

import argparse
import csv
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser(description="Digits, with a summary as CSV")
parser.add_argument("--hidden", type=int, default=64)
parser.add_argument("--opt", default="sgd", choices=["sgd", "adamw", "rmsprop"])
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--momentum", type=float, default=None, help="of sgd (default: 0.9)")
parser.add_argument("--nesterov", action="store_true")
parser.add_argument("-b", "--batch-size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--output", type=Path, default=Path("output"))
parser.add_argument("--experiment", default="digits")


def make_optimizer(args, params):
    if args.opt == "adamw":
        return torch.optim.AdamW(params, lr=args.lr)
    if args.opt == "rmsprop":
        return torch.optim.RMSprop(params, lr=args.lr)
    momentum = 0.9 if args.momentum is None else args.momentum
    return torch.optim.SGD(params, lr=args.lr, momentum=momentum, nesterov=args.nesterov)


@torch.no_grad()
def validate(model, images, labels):
    output = model(images)
    loss = nn.functional.cross_entropy(output, labels).item()
    return {
        "eval_loss": loss,
        "eval_top1": 100 * output.argmax(1).eq(labels).float().mean().item(),
    }


def main():
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, args.hidden), nn.ReLU(), nn.Linear(args.hidden, 10))
    optimizer = make_optimizer(args, model.parameters())
    folder = args.output / args.experiment
    folder.mkdir(parents=True, exist_ok=True)
    best = 0.0
    with (folder / "summary.csv").open("w", newline="") as file:
        summary = csv.writer(file)
        summary.writerow(["epoch", "train_loss", "eval_loss", "eval_top1"])
        for epoch in range(args.epochs):
            total = 0.0
            for chosen in torch.randperm(1400).split(args.batch_size):
                loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(chosen)
            metrics = validate(model, images[1400:], labels[1400:])
            summary.writerow([epoch, total / 1400, *metrics.values()])
            file.flush()
            best = max(best, metrics["eval_top1"])
    print(f"*** Best metric: {best:.2f}")


if __name__ == "__main__":
    main()
