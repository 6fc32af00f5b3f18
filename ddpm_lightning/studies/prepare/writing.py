"""Shards, each written by one process: a tar file, and then its index, which says that it is whole."""

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
    """The images at these places of a split, and the tar file that they go to."""

    images: EncodedImages
    places: range
    tar: Path

    def is_there(self) -> bool:
        """Whether it was written, and is whole."""
        try:
            return index_path(self.tar).exists() and bool(read_index(self.tar))
        except UserError:
            return False

    def write(self) -> ShardIndex:
        """Writes it whole or not at all, the same bytes whenever. Broken images are left out."""
        index = ShardIndex(offsets=[], lengths=[], crc32=[], broken=[])
        with (
            atomic_write(self.tar, shared=True) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for place in self.places:
                content = self.images.source.read(place)
                try:
                    suffix, content = encode(self.images, place, content)
                except UserError as error:
                    index.broken.append(str(error).encode(errors="backslashreplace").decode())  # any name of a file
                    continue
                index.offsets.append(file.tell() + tarfile.BLOCKSIZE)  # after the header
                index.lengths.append(len(content))
                index.crc32.append(zlib.crc32(content))
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
    """The writing of shards as a data set, for a DataLoader's processes: what is read is what was written."""

    shards: Sequence[Shard]

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, number: int) -> ShardIndex:
        shard = self.shards[number]
        try:
            return shard.write()
        except OSError as error:
            raise UserError(
                f"{shard.tar} cannot be written ({error.strerror}); make room, then give the same command to go on"
            ) from error
