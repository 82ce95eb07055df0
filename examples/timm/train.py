"""Train a model of timm's on scikit-learn's digits, in the form of timm's train.py."""

import argparse

import timm
import torch
from sklearn.datasets import load_digits
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import accuracy, random_seed
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import thermolion

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="test_vit")
parser.add_argument("--opt", default="adamw")
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--weight-decay", type=float, default=0.05)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("-b", "--batch-size", type=int, default=64)
parser.add_argument("--seed", type=int, default=42)


def parts(size=32):
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    images = functional.interpolate(images, size=size)
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for part in shuffled.split([1200, 300, 297]):
        yield TensorDataset(images[part], torch.tensor(digits.target)[part])


def train_one_epoch(model, loader, optimizer):
    model.train()
    for images, labels in loader:
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def validate(model, loader):
    model.eval()
    top1 = [accuracy(model(images), labels)[0] for images, labels in loader]
    return float(torch.stack(top1).mean())


def main():
    args = parser.parse_args()
    random_seed(args.seed)
    model = timm.create_model(args.model, in_chans=1, num_classes=10)
    optimizer = create_optimizer_v2(
        model, opt=args.opt, lr=args.lr, weight_decay=args.weight_decay
    )
    scheduler = CosineLRScheduler(optimizer, t_initial=args.epochs)
    train, validation, test = parts()
    loader_train = DataLoader(train, batch_size=args.batch_size, shuffle=True)
    loader_eval = DataLoader(validation, batch_size=300)
    for epoch in range(args.epochs):
        train_one_epoch(model, loader_train, optimizer)
        top1 = validate(model, loader_eval)
        scheduler.step(epoch + 1)
        thermolion.log(epoch + 1, top1=top1)
    thermolion.log_final(test_top1=validate(model, DataLoader(test, batch_size=300)))


if __name__ == "__main__":
    main()
