"""Divides the images of a set among several jobs (part=3 parts=8)."""

import math
from typing import Any

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.generated_shards import GeneratedShards


def part_of(n: int, part: int, parts: int, batch_size: int) -> range:
    """Returns the image numbers of one part of n images.

    Parts end where the batches of a single job would end, so that the images are bit-identical to those of one job.

    Args:
        n: number of images of all parts.
        part: number of the part, from 0 to parts − 1.
        parts: number of parts.
        batch_size: images that are generated at once.
    """
    batches = math.ceil(n / batch_size)
    first, last = (batches * each // parts * batch_size for each in (part, part + 1))
    return range(first, min(n, last))


def check_parts(config: dict[str, Any]) -> bool:
    """Returns whether this job generates one part of the images. Raises UserError if there is no such part."""
    if "parts" not in config:  # figure.py has none
        return False
    part, parts = config["part"], config["parts"]
    if part is None and parts is None:
        return False
    if config["images"] is not None:
        raise UserError(
            "part= and parts= divide images that are generated, but images= gives existing ones; leave one of them out"
        )
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
    """Raises UserError if one of the parts of n images is missing or incomplete."""
    missing = [part for part in range(parts) if shards.missing(part_of(n, part, parts, batch_size), n)]
    if missing:
        raise UserError(
            f"of the {parts} parts of {n} images, {shards.folder} lacks part={','.join(map(str, missing))} or has only "
            f"some of it; generate it with part={missing[0]} parts={parts}, or leave out parts= to do so in this job"
        )
