"""Writes shards: for each a tar file, and then its index, which marks it as complete."""

import io
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import Dataset

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.data.encoded import EncodedImages
from ddpm_lightning.data.shards import ShardIndex, index_path, read_index, to_json
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.prepare.encoding import encode


@dataclass(frozen=True)
class Shard:
    """A range of images of a split, the tar file that holds them, and the classes of the split's images, if asked."""

    images: EncodedImages
    places: range
    tar: Path
    labels: Sequence[int] | None = None

    def is_complete(self) -> bool:
        """Returns whether the shard was written whole."""
        try:
            return index_path(self.tar).exists() and bool(read_index(self.tar))
        except UserError:
            return False

    def write(self) -> ShardIndex:
        """Writes the shard whole or not at all, and returns its index. Broken images are left out and listed there.

        The same images always give the same bytes.
        """
        index = ShardIndex(offsets=[], lengths=[], crc32=[], broken=[], labels=None if self.labels is None else [])
        with (
            atomic_write(self.tar, shared=True) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for place in self.places:
                content = self.images.source.read(place)
                try:
                    suffix, content = encode(self.images, place, content)
                except UserError as error:
                    index.broken.append(
                        str(error).encode(errors="backslashreplace").decode()
                    )  # a file name may hold any bytes
                    continue
                index.offsets.append(file.tell() + tarfile.BLOCKSIZE)  # after the header
                index.lengths.append(len(content))
                index.crc32.append(zlib.crc32(content))
                if index.labels is not None and self.labels is not None:
                    index.labels.append(self.labels[place])
                tar.addfile(_header(f"{place:09d}.{suffix}", len(content)), io.BytesIO(content))
        with atomic_write(index_path(self.tar), shared=True) as file:
            file.write(to_json(index))
        return index


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    return header


@dataclass(frozen=True)
class ShardWriting(Dataset[ShardIndex]):
    """Writes shards in the processes of a DataLoader. Item `number` writes that shard, and is its index."""

    shards: Sequence[Shard]

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, number: int) -> ShardIndex:
        shard = self.shards[number]
        try:
            return shard.write()
        except OSError as error:
            raise UserError(
                f"{shard.tar} cannot be written ({error.strerror}); make room, then give the same command to resume"
            ) from error
