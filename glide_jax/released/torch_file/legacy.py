"""The format that `torch.save` wrote before torch 1.6: pickles in a row, then raw storages."""

import struct
from functools import partial

from glide_jax.released.torch_file.storages import view
from glide_jax.released.torch_file.unpickling import unpickle

SIGNATURE = b"\x80"  # how a pickle begins
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
NUMEL = struct.Struct("<q")


def read(mapped):
    """The object in a mapped file of that format; see `torch_file.read`."""
    if unpickle(mapped) != MAGIC_NUMBER or unpickle(mapped) != PROTOCOL_VERSION:
        raise ValueError("it is a pickle, but not one of torch.save's")
    system = unpickle(mapped)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its byte order is not 'little': save it again on a little-endian machine")
    begin, dtypes = mapped.tell(), {}

    def note(storage, *_):
        dtypes.setdefault(storage.key, storage.dtype)

    # The storages lie behind the pickle, and how long each is follows from what it is used as.
    unpickle(mapped, note)
    keys = unpickle(mapped)
    places = _places(mapped, keys, dtypes)
    mapped.seek(begin)
    return unpickle(mapped, partial(view, mapped, places))


def _places(mapped, keys, dtypes):
    """{key: (start, length)} of the storages that follow each other from here on, in bytes."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is broken")
    places, position = {}, mapped.tell()
    for key in keys:
        if key not in dtypes or key in places:
            raise ValueError(f"its storage {key!r:.40} is of no tensor, or there twice")
        header = mapped[position : position + NUMEL.size]
        (numel,) = NUMEL.unpack(header) if len(header) == NUMEL.size else (-1,)
        length = numel * dtypes[key].itemsize
        position += NUMEL.size
        if numel < 0 or position + length > len(mapped):
            raise ValueError(f"its storage {key!r:.40} is cut off: fetch the file again")
        places[key] = position, length
        position += length
    return places
