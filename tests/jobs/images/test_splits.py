"""Splits: shares, disjointness, determinism and tracks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jobs.contract.workloads.catalog import DataError
from jobs.images import data
from jobs.images import data as strata
from jobs.images.data import Dataset, ImageSet
from jobs.images.splits import chance, split

SEED = 2**64 - 3  # seeds are 64 bits, unsigned


def _dataset(sizes: tuple[int, ...] = (400, 300, 200, 100), tracks: bool = False) -> Dataset:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    images = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    part = ImageSet(images, labels)
    numbers = torch.arange(len(labels)) // 5 if tracks else None
    return Dataset(part, part, len(sizes), numbers, "0" * 16)


def _counts(dataset: Dataset, indices: Tensor) -> list[int]:
    labels = dataset.train.labels[indices]
    return torch.bincount(labels, minlength=dataset.classes).tolist()


def test_a_stratified_tenth_validates_and_the_rest_trains() -> None:
    dataset = _dataset()
    parts = split(dataset, "fair", None, SEED)
    assert _counts(dataset, parts.validation) == [40, 30, 20, 10]
    together = torch.cat((parts.train, parts.validation))
    assert torch.equal(together.sort().values, torch.arange(1000))
    assert torch.equal(parts.train, parts.train.sort().values)


def test_a_smaller_training_part_is_stratified_and_keeps_the_validation_images() -> None:
    dataset = _dataset()
    whole = split(dataset, "fair", None, SEED)
    small = split(dataset, "fair", 90, SEED)
    assert _counts(dataset, small.train) == [36, 27, 18, 9]
    assert torch.equal(small.validation, whole.validation)
    assert torch.isin(small.train, whole.train).all()


def test_equal_seeds_split_equally_and_others_do_not() -> None:
    dataset = _dataset()
    state = torch.get_rng_state()
    one, same, other = (split(dataset, "fair", 100, seed) for seed in (SEED, SEED, 1))
    assert torch.equal(one.train, same.train)
    assert torch.equal(one.validation, same.validation)
    assert not torch.equal(one.train, other.train)
    assert not torch.equal(one.validation, other.validation)
    assert torch.equal(torch.get_rng_state(), state)


def test_whole_tracks_validate_stratified_by_class() -> None:
    dataset = _dataset(tracks=True)
    parts = split(dataset, "fair", None, SEED)
    tracks = [set(dataset.tracks[part].tolist()) for part in (parts.train, parts.validation)]
    assert not tracks[0] & tracks[1]
    assert len(tracks[1]) == 20
    assert _counts(dataset, parts.validation) == [40, 30, 20, 10]


def test_track_numbers_may_have_gaps_and_any_order() -> None:
    dataset = _dataset(tracks=True)
    renumbered = replace(dataset, tracks=1000 - 3 * dataset.tracks)
    parts = split(renumbered, "fair", None, SEED)
    assert _counts(dataset, parts.validation) == [40, 30, 20, 10]


def test_no_track_of_the_traffic_signs_is_in_both_parts(data_root: Path) -> None:
    dataset = data.load("gtsrb", {}, data_root)
    parts = split(dataset, "fair", None, SEED)
    tracks = [set(dataset.tracks[part].tolist()) for part in (parts.train, parts.validation)]
    assert not tracks[0] & tracks[1]
    assert len(tracks[0] | tracks[1]) == 888
    assert len(tracks[1]) == 89
    assert sum(map(len, (parts.train, parts.validation))) == 1776
    assert len(torch.unique(dataset.train.labels[parts.train])) == 43


def test_replication_trains_on_the_first_images_and_validates_on_none() -> None:
    dataset = _dataset((4000, 3000))
    assert torch.equal(split(dataset, "replication", None, SEED).train, torch.arange(5000))
    small = split(dataset, "replication", 12, SEED)
    assert torch.equal(small.train, torch.arange(12))
    assert small.validation is None
    few = split(_dataset((40, 30)), "replication", None, SEED)
    assert torch.equal(few.train, torch.arange(70))


@pytest.mark.parametrize(("kind", "available"), [("fair", 900), ("replication", 1000)])
def test_more_images_than_there_are_is_an_error_with_both_numbers(
    kind: str, available: int
) -> None:
    with pytest.raises(DataError, match=f"train_images is 1001, .* to the {available} of"):
        split(_dataset(), kind, 1001, SEED)
    with pytest.raises(DataError, match="train_images is 0"):
        split(_dataset(), kind, 0, SEED)
    assert len(split(_dataset(), kind, available, SEED).train) == available


def test_an_unknown_kind_of_split_is_refused_with_the_choices() -> None:
    with pytest.raises(DataError, match="choose from fair, replication"):
        split(_dataset(), "random", None, SEED)


def test_chance_is_the_rate_of_the_majority_class() -> None:
    assert chance(torch.tensor([2, 0, 2, 1])) == 0.5
    assert chance(_dataset().train.labels) == 0.4


def test_draws_give_fractions_to_the_largest_remainders() -> None:
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)  # 4 of 10: shares 2.0, 1.2, 0.8
    drawn = strata.draw(labels, 4, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[drawn]).tolist() == [2, 1, 1]


def test_draws_reach_every_item_about_equally_often() -> None:
    labels = torch.tensor([0, 1] * 20)
    generator = torch.Generator().manual_seed(0)
    hits = torch.zeros(40)
    for _ in range(1000):
        hits[strata.draw(labels, 10, generator)] += 1
    assert 200 < int(hits.min()) <= int(hits.max()) < 300  # 250 each, standard deviation 14
