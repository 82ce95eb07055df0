"""Augmentation: what the operations do, and what their draws depend on."""

import pytest
import torch
from torch import Tensor

from jobs.contract.workloads.catalog import DataError
from jobs.images.augment import Augmentation, crop, hflip

N = 200
BOTH = ("hflip", "crop")


def _images(size: int = 32, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (N, channels, size, size)
    return torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)


def test_the_result_depends_on_the_sample_and_not_on_the_batch() -> None:
    images, samples = _images(), torch.arange(N)
    whole = Augmentation(BOTH, 7, N).apply(images, samples, epoch=3)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    shuffled = Augmentation(BOTH, 7, N).apply(images[order], order, epoch=3)
    assert torch.equal(shuffled, whole[order])
    sharded = Augmentation(BOTH, 7, N)
    shards = [sharded.apply(images[s::4], samples[s::4], epoch=3) for s in range(4)]
    assert all(torch.equal(shard, whole[s::4]) for s, shard in enumerate(shards))


def test_epochs_and_seeds_differ_and_a_return_to_an_epoch_repeats_it() -> None:
    images, samples = _images(), torch.arange(N)
    augmentation = Augmentation(BOTH, 2**64 - 1, N)
    first = augmentation.apply(images, samples, epoch=0)
    assert not torch.equal(augmentation.apply(images, samples, epoch=1), first)
    assert torch.equal(augmentation.apply(images, samples, epoch=0), first)
    assert not torch.equal(Augmentation(BOTH, 1, N).apply(images, samples, epoch=0), first)


def test_one_operation_draws_the_same_with_and_without_another() -> None:
    images, samples = _images(), torch.arange(N)
    flipped = Augmentation(["hflip"], 5, N).apply(images, samples, epoch=0)
    cropped_alone = Augmentation(["crop"], 5, N).apply(flipped, samples, epoch=0)
    for names in (BOTH, BOTH[::-1]):
        both = Augmentation(names, 5, N).apply(images, samples, epoch=0)
        assert torch.equal(both, cropped_alone)


def test_hflip_mirrors_about_half_of_the_images() -> None:
    images = _images()
    result = Augmentation(["hflip"], 0, N).apply(images, torch.arange(N), epoch=0)
    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    kept = (result == images).flatten(1).all(1)
    assert torch.equal(mirrored, ~kept)
    assert 70 < int(mirrored.sum()) < 130


def test_crop_moves_by_whole_pixels_and_fills_with_zero() -> None:
    image = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8)
    moved = {
        (down, across): crop(image, torch.tensor([[down, across]]))[0, 0]
        for down in range(3)
        for across in range(3)
    }
    assert torch.equal(moved[1, 1], image[0, 0])
    assert torch.equal(moved[2, 1][:-1], image[0, 0, 1:])
    assert torch.equal(moved[2, 1][-1], torch.zeros(8, dtype=torch.uint8))
    assert torch.equal(moved[1, 0][:, 1:], image[0, 0, :, :-1])
    assert torch.equal(moved[1, 0][:, 0], torch.zeros(8, dtype=torch.uint8))
    assert torch.equal(crop(image, torch.tensor([[3, 6]]))[0, 0], moved[0, 0])


def test_crop_reaches_every_offset_of_four_pixels_in_thirty_two() -> None:
    images = torch.zeros(4000, 1, 32, 32, dtype=torch.uint8)
    images[:, :, 16, 16] = 255
    result = Augmentation(["crop"], 0, 4000).apply(images, torch.arange(4000), epoch=0)
    spots = torch.nonzero(result[:, 0])[:, 1:]
    offsets, counts = torch.unique(spots, dim=0, return_counts=True)
    assert torch.equal(offsets.amin(0), torch.tensor([12, 12]))
    assert torch.equal(offsets.amax(0), torch.tensor([20, 20]))
    assert len(offsets) == 81
    assert int(counts.min()) > 20  # 4000 / 81 is 49


def test_hflip_and_crop_keep_type_and_shape_for_every_size() -> None:
    for size, channels in ((8, 1), (16, 1), (32, 3)):
        images = _images(size, channels)
        result = Augmentation(BOTH, 0, N).apply(images, torch.arange(N), epoch=0)
        assert result.dtype == torch.uint8
        assert result.shape == images.shape


def test_no_operation_returns_the_batch_and_the_global_generator_is_left_alone() -> None:
    images, samples = _images(), torch.arange(N)
    before = torch.get_rng_state()
    assert Augmentation([], 0, N).apply(images, samples, epoch=0) is images
    Augmentation(BOTH, 0, N).apply(images, samples, epoch=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_use_their_lowest_bit_for_the_flip() -> None:
    images = _images()[:2]
    draws = torch.tensor([[2, 1], [3, 0]])
    assert torch.equal(hflip(images, draws)[0], images[0])
    assert torch.equal(hflip(images, draws)[1], images[1].flip(-1))


def test_an_unknown_operation_is_refused_with_the_choices() -> None:
    with pytest.raises(DataError, match="choose from hflip, crop"):
        Augmentation(["rotate"], 0, N)
