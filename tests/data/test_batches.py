"""Which images make a batch: complete, shuffled, resumable, and the same for any number of processes."""

from itertools import islice

import pytest
import torch

from ddpm_lightning.data.batches import InMemoryImages, OnePass, Plan, Share, TrainingStream


def stream(rank: int = 0, world_size: int = 1, start: int = 0, accumulated: int = 1) -> TrainingStream:
    return TrainingStream(10, 4, flip=True, seed=3, share=Share(rank, world_size), start=start, accumulated=accumulated)


def first(plans: TrainingStream, count: int) -> list[tuple[list[int], list[bool]]]:
    return [(plan.indices.tolist(), plan.flip.tolist()) for plan in islice(plans, count)]


def test_each_pass_shows_no_image_twice_and_another_order() -> None:
    batches = first(stream(), 4)  # two passes of 10 // 4 batches
    passes = [batches[0][0] + batches[1][0], batches[2][0] + batches[3][0]]
    assert all(len(set(images)) == 8 for images in passes)
    assert passes[0] != passes[1]


def test_stream_goes_on_from_any_batch() -> None:
    assert first(stream(start=3), 5) == first(stream(), 8)[3:]
    assert first(stream(start=3, accumulated=2), 5) == first(stream(accumulated=2), 8)[3:]


def test_processes_share_each_batch() -> None:
    whole = first(stream(), 6)
    halves = [first(stream(rank=rank, world_size=2), 6) for rank in (0, 1)]
    for step, (indices, flip) in enumerate(whole):
        assert halves[0][step][0] + halves[1][step][0] == indices
        assert halves[0][step][1] + halves[1][step][1] == flip


@pytest.mark.parametrize(("world_size", "accumulated"), [(1, 2), (1, 4), (2, 2)])
def test_accumulated_batches_are_the_parts_of_one(world_size: int, accumulated: int) -> None:
    """One after the other in a process, side by side in several: all together the same batch in the same order."""
    processes = [stream(rank=rank, world_size=world_size, accumulated=accumulated) for rank in range(world_size)]
    each = [first(process, 6 * accumulated) for process in processes]
    parts = [process[number] for number in range(6 * accumulated) for process in each]
    for step, (indices, flip) in enumerate(first(stream(), 6)):
        mine = parts[step * accumulated * world_size : (step + 1) * accumulated * world_size]
        assert [index for part in mine for index in part[0]] == indices
        assert [mirrored for part in mine for mirrored in part[1]] == flip


def test_half_of_the_images_are_mirrored_or_none() -> None:
    flips = torch.cat([plan.flip for plan in islice(TrainingStream(1000, 100, flip=True, seed=3, share=Share()), 100)])
    assert 0.47 < flips.float().mean() < 0.53
    without = TrainingStream(10, 4, flip=False, seed=3, share=Share())
    assert not any(plan.flip.any() for plan in islice(without, 20))


def test_another_seed_gives_another_order() -> None:
    other = TrainingStream(10, 4, flip=True, seed=4, share=Share())
    assert first(other, 5) != first(stream(), 5)


def test_evaluation_sees_every_image_once_for_any_number_of_processes() -> None:
    for world_size in (1, 2, 3, 7):
        seen = []
        for rank in range(world_size):
            plans = OnePass(23, 4, Share(rank, world_size))
            batches = list(plans)
            assert len(batches) == len(plans)
            seen += [i for plan in batches for i in plan.indices.tolist()]
        assert sorted(seen) == list(range(23))


def test_a_process_without_images_gets_no_batch() -> None:
    passes = [OnePass(2, 5, Share(rank, 3)) for rank in range(3)]
    assert [[plan.indices.tolist() for plan in each] for each in passes] == [[[0]], [[1]], []]
    assert [len(each) for each in passes] == [1, 1, 0]


def test_a_data_set_in_memory_gathers_a_planned_batch() -> None:
    images = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1)
    batch = InMemoryImages(images)[Plan(torch.tensor([3, 1]), torch.tensor([True, False]))]
    assert batch.images.flatten().tolist() == [3, 1]
    assert batch.flip.tolist() == [True, False]
    assert batch.indices.tolist() == [3, 1]
