"""Simple ways to fill in hidden pixels, which a model must beat."""

from collections.abc import Iterable

import torch

from ddpm_lightning.typing import Images, SomeImages


def nearest_pixel(image: Images, known: SomeImages) -> Images:
    """Gives each hidden pixel the value of the nearest known one: [b, c, h, w].

    Args:
        image: [b, c, h, w].
        known: 1 where pixels are known and 0 where they are hidden, alike in all images and channels, [1, c, h, w].
    """
    height, width = image.shape[-2:]
    rows, columns = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
    places = torch.cartesian_prod(rows, columns).float()
    choices = known[0, 0].flatten().nonzero()[:, 0]
    nearest = choices[torch.cdist(places, places[choices]).argmin(1)]
    return image.flatten(2)[:, :, nearest].reshape(image.shape)


def nearest_image(image: Images, known: SomeImages, batches: Iterable[SomeImages]) -> Images:
    """Fills in the hidden pixels from the image whose known pixels are nearest: [b, c, h, w].

    Args:
        image: [b, c, h, w].
        known: 1 where pixels are known and 0 where they are hidden, [1, c, h, w].
        batches: the images to fill in from, [n, c, h, w] each.
    """
    best, found = torch.full((len(image),), torch.inf, device=image.device), torch.zeros_like(image)
    for batch in batches:
        distances = torch.cdist((image * known).flatten(1), (batch * known).flatten(1))
        least, places = distances.min(1)
        nearer = (least < best).reshape(-1, 1, 1, 1)
        best, found = torch.minimum(best, least), torch.where(nearer, batch[places], found)
    return torch.where(known > 0, image, found)
