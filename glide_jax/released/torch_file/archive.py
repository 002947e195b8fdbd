"""The zip format that `torch.save` writes since torch 1.6."""

import io
import struct
import zipfile
from functools import partial

from glide_jax.released.torch_file.storages import view
from glide_jax.released.torch_file.unpickling import unpickle

SIGNATURE = b"PK\x03\x04"
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field
LARGEST_PICKLE = 2**26  # bytes; that of the published base model has 116,000
ENCRYPTED = 1


def read(mapped):
    """The object in a mapped zip file; see `torch_file.read`."""
    places = _places(mapped)
    _check_kind(mapped, places)
    storages = {
        name.removeprefix("data/"): place
        for name, place in places.items()
        if name.startswith("data/")
    }
    pickled = io.BytesIO(_bytes(mapped, places, "data.pkl"))
    return unpickle(pickled, partial(view, mapped, storages))


def _check_kind(mapped, places):
    """Raises where the file holds a program, or numbers in the other byte order."""
    if "constants.pkl" in places or any(name.startswith("code/") for name in places):
        raise ValueError(
            "it is a TorchScript program, which holds code: save its weights from PyTorch, by "
            "torch.save(torch.jit.load(path).state_dict(), other_path)"
        )
    order = _bytes(mapped, places, "byteorder") if "byteorder" in places else b"little"
    if order != b"little":
        raise ValueError(
            f"its byte order is {order.decode('latin-1')!r:.20}, not 'little': save it again on a "
            "little-endian machine"
        )


def _places(mapped):
    """{name without the top folder: (start, length)} of a zip file's entries, in bytes."""
    try:
        with zipfile.ZipFile(mapped) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise ValueError(f"it is no complete zip file ({error}): fetch it again") from None
    names = [entry.filename for entry in entries]
    if len({*names}) < len(names):
        raise ValueError("its zip file holds two entries of one name")
    tops = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(tops) != 1 or "/" in tops[0]:
        raise ValueError("it is a zip file, but not one of torch.save's: it has no one data.pkl")
    inside = [entry for entry in entries if entry.filename.startswith(f"{tops[0]}/")]
    return {
        entry.filename.removeprefix(f"{tops[0]}/"): _place(mapped, entry)
        for entry in inside
        if not entry.is_dir()
    }


def _place(mapped, entry):
    """Where an entry's bytes are: (start, length)."""
    header = mapped[entry.header_offset : entry.header_offset + LOCAL_HEADER.size]
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED:
        raise ValueError(
            f"its entry {entry.filename!r:.60} is compressed or encrypted, and torch.save's are not"
        )
    if entry.compress_size != entry.file_size or not header.startswith(SIGNATURE):
        raise ValueError(f"its entry {entry.filename!r:.60} is broken")
    _, name, extra = LOCAL_HEADER.unpack(header)
    start = entry.header_offset + LOCAL_HEADER.size + name + extra
    if start + entry.file_size > len(mapped):
        raise ValueError(f"its entry {entry.filename!r:.60} ends beyond the file")
    return start, entry.file_size


def _bytes(mapped, places, name):
    start, length = places[name]
    if length > LARGEST_PICKLE:
        raise ValueError(f"its {name} has {length:,} bytes, more than any list of tensors needs")
    return mapped[start : start + length]
