"""Image files in folders: finding them, and opening one."""

from pathlib import Path

from PIL import Image, ImageOps

from ddpm_lightning.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def find_images(folder: Path, option: str) -> list[Path]:
    """All images below the folder, in order of path. Raises UserError, naming the option, where there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder.resolve()} is no folder; name the folder of images with {option}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UserError(
            f"{folder.resolve()} holds no images ({', '.join(sorted(SUFFIXES))}); name another folder with {option}"
        )
    return paths


def open_image(path: Path) -> Image.Image:
    """The image, turned as its camera was held. Raises UserError, naming the file, where it is no image of 8 bits."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):
                raise UserError(f"{path} has 16 or more bits a pixel, the model 8; convert it first")
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} cannot be read as an image ({error}); mend or remove it") from error
