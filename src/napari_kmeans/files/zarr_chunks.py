"""Read the chunks of zarr arrays with a bound on their size, packed and unpacked.

zarr unpacks whatever a chunk contains: a chunk of a few megabytes may unpack to many gigabytes.
"""

from __future__ import annotations

import asyncio
import bz2
import lzma
import os
import stat
import zlib
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, cast

import zarr
from numcodecs.abc import Codec as NumcodecsCodec  # type: ignore[import-untyped]
from zarr.abc.codec import BytesBytesCodec
from zarr.storage import LocalStore, ZipStore

from napari_kmeans.files.errors import UnreadableImageError, check_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarr.abc.store import ByteRequest
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, BufferPrototype

METADATA_NAMES = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
MAX_METADATA_BYTES = 2**26
"""Metadata of a million arrays have this size. zarr reads them completely."""

HEADER_BYTES = 18
"""The longest header of `STATED_SIZES`: that of zstd."""

SLACK = 2**16
"""Bytes that a chunk may have beside its pixels, such as checksums."""

MAX_COUNTED_CHUNKS = 2**18
"""Listing so many files takes a second or two."""

MAX_FILTER_RATIO = 16
"""A filter of zarr 2 may store a pixel in more bytes than the array has, such as float64."""


class CheckedLocalStore(LocalStore):
    """A directory whose files are checked before they are read completely."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a file, or None if there is no such file."""
        try:
            status = os.stat(self.root / key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise UnreadableImageError(f"its file {key} is a device or a pipe")
        _check_entry(key, status.st_size)
        return await super().get(key, prototype, byte_range)


class CheckedZipStore(ZipStore):
    """A zip file whose entries are checked before they are unpacked."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the bytes of an entry, or None if there is no such entry."""
        if not self._is_open:
            self._sync_open()
        entry = self._zf.NameToInfo.get(key)
        if entry is None:
            return None
        # zipfile unpacks no more than the size that the directory of the file states.
        _check_entry(key, entry.file_size)
        return await super().get(key, prototype, byte_range)


def count_missing_chunks(array: zarr.Array[Any]) -> tuple[int, int]:
    """Return the number of chunks that are not stored, and that of all chunks.

    Shards are counted instead of the chunks in them. Nothing is read: the names of the files are
    listed, which takes some microseconds for each, where zarr takes almost a millisecond. More
    than `MAX_COUNTED_CHUNKS`, and that of an array without axes, are not counted: none is missing.
    """
    sizes = array.shards or array.chunks
    lengths = [-(-length // size) for length, size in zip(array.shape, sizes, strict=True)]
    n_chunks = prod(lengths)
    if not lengths or n_chunks > MAX_COUNTED_CHUNKS:
        return 0, n_chunks
    stored = _list_names(array.store_path.store, array.store_path.path)
    name_of: Any = array.metadata.encode_chunk_key
    places = product(*map(range, lengths))
    return sum(name_of(place) not in stored for place in places), n_chunks


def _list_names(store: Any, path: str) -> set[str]:
    """Return the names of the files below a path, relative to it."""
    start = f"{path}/" if path else ""
    if isinstance(store, CheckedZipStore):
        if not store._is_open:
            store._sync_open()
        names = store._zf.namelist()
        return {name.removeprefix(start) for name in names if name.startswith(start)}
    return set(list_files(str(store.root / path)))


def list_files(root: str) -> Iterator[str]:
    """Yield the paths of the files of a zarr directory from it, in a fixed order.

    They have slashes on all systems. Chunks may be in a folder that is a link.
    """
    for folder, subfolders, files in os.walk(root, followlinks=True):
        # `os.walk` enters the subfolders in the order of its list.
        subfolders.sort()
        inner = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in sorted(files):
            yield name if inner == "." else f"{inner}/{name}"


def _check_entry(key: str, n_bytes: int) -> None:
    if key.rpartition("/")[2] in METADATA_NAMES and n_bytes > MAX_METADATA_BYTES:
        raise UnreadableImageError(f"its metadata {key} have {n_bytes} bytes")
    check_memory(n_bytes, "one chunk of it")


def bound_chunks(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return the array with codecs that refuse a chunk that unpacks to more than its pixels.

    Raises
    ------
    UnreadableImageError
        If a chunk does not fit into memory.
    """
    metadata: Any = array.metadata
    n_bytes = prod(array.chunks) * array.dtype.itemsize
    check_memory(n_bytes, "one chunk of it")
    if metadata.zarr_format == 2:
        limit = MAX_FILTER_RATIO * n_bytes + SLACK
        compressor, filters = metadata.compressor, metadata.filters
        bounded = replace(
            metadata,
            compressor=None if compressor is None else BoundedNumcodec(compressor, limit),
            filters=[BoundedNumcodec(each, limit) for each in filters] if filters else None,
        )
    else:
        bounded = replace(metadata, codecs=_bound_codecs(metadata.codecs))
    # The type of an array depends on its zarr format, which is not known here.
    opened = zarr.AsyncArray(bounded, array.store_path)
    return zarr.Array(cast("Any", opened))


def _bound_codecs(codecs: tuple[Any, ...]) -> tuple[Any, ...]:
    bounded = []
    for codec in codecs:
        if hasattr(codec, "codecs"):
            # A shard contains chunks, which have codecs of their own.
            codec = replace(codec, codecs=_bound_codecs(codec.codecs))
        elif isinstance(codec, BytesBytesCodec) and _name_of(codec) in (*STATED_SIZES, *UNPACKERS):
            codec = BoundedCodec(codec)
        bounded.append(codec)
    return tuple(bounded)


def _name_of(codec: BytesBytesCodec) -> str:
    # The codecs of numcodecs are "numcodecs.zlib" and so on.
    return str(codec.to_dict()["name"]).rpartition(".")[2]


@dataclass(frozen=True)
class BoundedCodec(BytesBytesCodec):
    """A codec of zarr 3 that unpacks no more than the pixels of a chunk."""

    codec: Any
    is_fixed_size = False

    def to_dict(self) -> Any:
        """Return the metadata of the codec."""
        return self.codec.to_dict()

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Refuse: the packed size depends on the pixels."""
        raise NotImplementedError

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        n_bytes = prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        limit, kind, packed = 2 * n_bytes + SLACK, _name_of(self.codec), chunk_data.as_numpy_array()
        if is_size_checked(kind, packed, limit):
            (decoded,) = await self.codec.decode([(chunk_data, chunk_spec)])
            return cast("Buffer", decoded)
        unpacked = await asyncio.to_thread(unpack, kind, packed, limit)
        return chunk_spec.prototype.buffer.from_bytes(unpacked)


class BoundedNumcodec(NumcodecsCodec):  # type: ignore[misc]
    """A compressor or filter of zarr 2 that unpacks to at most `limit` bytes."""

    # zarr accepts only classes with an identifier.
    codec_id = "napari-kmeans-bounded"

    def __init__(self, codec: Any, limit: int) -> None:
        self.codec, self.limit, self.codec_id = codec, limit, codec.codec_id

    def get_config(self) -> Any:
        """Return the metadata of the codec."""
        return self.codec.get_config()

    def encode(self, buf: Any) -> Any:
        """Pack bytes."""
        return self.codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack bytes, or refuse them if there are too many."""
        if is_size_checked(self.codec_id, buf, self.limit):
            return self.codec.decode(buf, out)
        return unpack(self.codec_id, buf, self.limit)


def is_size_checked(kind: str, packed: Any, limit: int) -> bool:
    """Return whether a codec may unpack a chunk: the stated size, if there is one, is small.

    Parameters
    ----------
    kind : str
        The name of the codec in zarr.
    packed : bytes or array
    limit : int
        The largest number of bytes that the chunk may have.

    Returns
    -------
    bool
        False if the size is unknown, so that `unpack` must count the bytes.

    Raises
    ------
    UnreadableImageError
        If the stated size is larger.
    """
    if kind not in STATED_SIZES:
        return kind not in UNPACKERS
    size = STATED_SIZES[kind](bytes(memoryview(packed).cast("B")[:HEADER_BYTES]))
    if size is not None and size > limit:
        _refuse(limit)
    return size is not None


def unpack(kind: str, packed: Any, limit: int) -> bytes:
    """Return the unpacked bytes of a chunk of unknown size, or refuse it if there are too many."""
    if kind in UNPACKERS:
        return _unpack_piecewise(UNPACKERS[kind], bytes(packed), limit)
    return _unpack_zstd(bytes(packed), limit)


def _refuse(limit: int) -> None:
    raise UnreadableImageError(f"a chunk unpacks to more than {limit} bytes")


def _unpack_piecewise(make: Callable[[], Any], data: bytes, limit: int) -> bytes:
    """Unpack a stream that states no size, or several of them in a row."""
    unpacked = b""
    while data:
        unpacker = make()
        unpacked += unpacker.decompress(data, limit + 1 - len(unpacked))
        if len(unpacked) > limit:
            _refuse(limit)
        if not unpacker.eof:
            raise UnreadableImageError("a chunk ends too early")
        data = unpacker.unused_data
    return unpacked


def _unpack_zstd(data: bytes, limit: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_decode(data, out=limit))


def _read_blosc_size(data: bytes) -> int:
    return int.from_bytes(data[4:8], "little")


def _read_lz4_size(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _read_zstd_size(data: bytes) -> int | None:
    """Return the size that the header of a zstd frame states, or None."""
    flags = data[4] if len(data) > 4 else 0
    is_single = flags >> 5 & 1
    n_bytes = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    if not n_bytes:
        return None
    start = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(data[start : start + n_bytes], "little")
    return size + 256 if n_bytes == 2 else size


STATED_SIZES: dict[str, Callable[[bytes], int | None]] = {
    "blosc": _read_blosc_size,
    "lz4": _read_lz4_size,
    "zstd": _read_zstd_size,
}
"""The codecs that state the unpacked size at the start of a chunk."""

UNPACKERS: dict[str, Callable[[], Any]] = {
    # The header is that of gzip or zlib.
    "gzip": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32),
    "zlib": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32),
    "bz2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
}
"""The codecs that state no size, and how they unpack."""
