"""Images that several jobs make, each its part of the numbers: part=3 parts=8."""

import math
from typing import Any

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.generated_shards import GeneratedShards


def part_of(n: int, part: int, parts: int, batch_size: int) -> range:
    """The numbers below n that this part has; the parts, counted from 0, have every number once. They are cut between
    two batches of one job that makes them all, so that the images are the same to the last bit."""
    batches = math.ceil(n / batch_size)
    first, last = (batches * each // parts * batch_size for each in (part, part + 1))
    return range(first, min(n, last))


def check_parts(config: dict[str, Any]) -> bool:
    """Whether a part is to be made. Raises UserError where there is no such part."""
    if "parts" not in config:  # figure.py has none
        return False
    part, parts = config["part"], config["parts"]
    if part is None and parts is None:
        return False
    if config["images"] is not None:
        raise UserError("part= and parts= are of images that are made, and images= are given; leave one of them out")
    check_whole(
        "parts", parts, 1, "it is the number of jobs that share the images; part=0 parts=8 is the first of eight"
    )
    batches = math.ceil(config["num_images"] / config["batch_size"])
    check_at_most("parts", parts, batches, "there are no more batches than that; make batch_size= smaller")
    if part is not None:
        check_whole("part", part, 0, "the first part of parts=8 is part=0, the last part=7")
        check_at_most("part", part, parts - 1, f"parts={parts} are counted from 0")
    return part is not None


def check_whole_set(shards: GeneratedShards, n: int, parts: int, batch_size: int) -> None:
    """Raises UserError where a part of the n images is not there, or not all of it."""
    missing = [part for part in range(parts) if shards.missing(part_of(n, part, parts, batch_size), n)]
    if missing:
        raise UserError(
            f"of the {parts} parts of {n} images, {shards.folder} lacks part={','.join(map(str, missing))}, or some of "
            f"it; make that with part={missing[0]} parts={parts}, or leave out parts= to make it now, in this job"
        )
