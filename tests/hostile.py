"""Checkpoint files that are broken or meant to do harm, {name: (bytes, what the refusal says)}."""

import io
import os
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
DATA = struct.pack("<6f", *range(6))
STOP = b"."


def literal(value):
    """The opcodes that put a plain value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


REBUILD = name("torch._utils", "_rebuild_tensor_v2")
HOOKS = name("collections", "OrderedDict") + b")R"


def identity(kind="storage", dtype="FloatStorage", key="0", numel=6, view=()):
    """A storage's persistent id, put on the stack and looked up."""
    stored = literal(kind) + name("torch", dtype) + literal(key) + literal("cpu") + literal(numel)
    return b"(" + stored + b"".join(map(literal, view)) + b"tQ"


def tensor(storage=None, offset=0, size=(2, 3), stride=(3, 1)):
    """A call of `_rebuild_tensor_v2`."""
    where = b"".join(map(literal, (offset, size, stride)))
    return REBUILD + b"(" + (storage or identity()) + where + b"\x89" + HOOKS + b"tR"


def state_dict(**tensors):
    """A pickled dictionary of what such opcodes make."""
    items = b"".join(literal(key) + made for key, made in tensors.items())
    return b"\x80\x02}(" + items + b"u" + STOP


def archive(pickled, data=DATA, top="archive", compression=zipfile.ZIP_STORED, **more):
    """A zip file around a pickle and the storage 0; further entries by name, None drops one."""
    entries = {"data.pkl": pickled, "data/0": data, "version": b"3\n", "byteorder": b"little"}
    entries |= more
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for entry, content in entries.items():
            if content is not None:
                made.writestr(f"{top}/{entry}", content)
    return file.getvalue()


def legacy(pickled, keys=("0",), raw=None, system=SYSTEM):
    """A file of the format before torch 1.6."""
    raw = struct.pack("<q", 6) + DATA if raw is None else raw
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, system))
    return head + pickled + pickle.dumps(list(keys), 2) + raw


def twice(entry):
    """An archive with a second entry of a name."""
    file = io.BytesIO(archive(state_dict(a=tensor())))
    with zipfile.ZipFile(file, "a") as made:
        made._writecheck = lambda info: None  # which would warn
        made.writestr(entry, b"other")
    return file.getvalue()


def patched(content, before, after):
    """A file with one value overwritten wherever it is."""
    assert before in content and len(before) == len(after)
    return content.replace(before, after)


class Reduced:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def calling(function, *arguments, protocol=2):
    return pickle.dumps(Reduced(function, *arguments), protocol)


GOOD = archive(state_dict(a=tensor()))
# Each tuple holds the one before it twice.
BOMB = b"\x80\x02]q\x00" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(60)) + STOP
PICKLES = {
    "os.system": (calling(os.system, "exit 3"), "asks for 'posix.system'"),
    "eval": (calling(eval, "1/0"), "asks for '__builtin__.eval'"),
    "getattr": (calling(getattr, Reduced(__import__, "os"), "system"), "'__builtin__.getattr'"),
    "a pickle in a pickle": (calling(pickle.loads, b"."), "asks for 'pickle.loads'"),
    "no prefix of an allowed name": (
        b"\x80\x02" + name("torch._utils", "_rebuild_tensor") + name("torch", "load") + STOP,
        "asks for 'torch.load'",
    ),
    "dotted name": (
        b"\x80\x04\x8c\x05torch\x8c\x19_utils._rebuild_tensor_v2\x93)R.",
        "asks for|broken",
    ),
    "dotted builtin": (
        b"\x80\x04\x8c\x0bcollections\x8c\x17OrderedDict.__init__.x.\x93)R.",
        r"asks for 'collections.OrderedDict.__init__",
    ),
    "names that are no text": (b"\x80\x04K\x01K\x02\x93.", "a name that is no text"),
    "extension code": (b"\x80\x02\x82\x01.", "the instruction EXT1"),
    "instance": (b"\x80\x02(ios\nsystem\n.", "the instruction INST 'os system'"),
    "object": (b"\x80\x02(" + HOOKS + b"o.", "the instruction OBJ"),
    "new object": (b"\x80\x02" + name("torch", "Size") + b")\x81.", "the instruction NEWOBJ"),
    "a tensor of anything": (
        b"\x80\x02" + REBUILD + literal((1, 2, 3, 4, 5, 6)) + b"R.",
        "a tensor of what is no storage",
    ),
    "too few arguments": (
        b"\x80\x02" + REBUILD + b")R.",
        r"_rebuild_tensor_v2 0 arguments, not 6 or 7",
    ),
    "too many arguments": (
        b"\x80\x02" + REBUILD + literal(tuple(range(99))) + b"R.",
        "99 arguments",
    ),
    "arguments that are no tuple": (b"\x80\x02" + REBUILD + b"]R.", "calls what is no function"),
    "a call of a text": (b"\x80\x02" + literal("os.system") + b")R.", "calls what is no function"),
    "a call of a type": (
        b"\x80\x02" + name("torch", "FloatStorage") + b")R.",
        "calls what is no function",
    ),
    "a dictionary of numbers": (
        b"\x80\x02" + name("collections", "OrderedDict") + literal((7,)) + b"R.",
        "no pairs",
    ),
    "a size of a text": (
        b"\x80\x02" + name("torch", "Size") + literal(("ab",)) + b"R.",
        "a size of what is no tuple",
    ),
    "attributes of a function": (
        b"\x80\x02" + REBUILD + b"N}X\x08\x00\x00\x00__code__K\x01s\x86b.",
        "sets attributes",
    ),
    "an item of a function": (b"\x80\x02" + REBUILD + b"K\x01K\x02s.", "fills what is no dict"),
    "appended to a tuple": (b"\x80\x02)K\x01a.", "appends to what is no list"),
    "an odd number of items": (b"\x80\x02}(K\x01u.", "fills what is no dictionary"),
    "persistent id of a text": (b"\x80\x02" + literal("0") + b"Q.", "no storage"),
    "persistent id as text": (b"\x80\x02P0\n.", "the instruction PERSID '0'"),
    "persistent id of a module": (b"\x80\x02" + identity(kind="module") + STOP, "no storage"),
    "persistent id too short": (b"\x80\x02" + literal(("storage", 1)) + b"Q.", "no storage"),
    "persistent id of lies": (
        b"\x80\x02" + literal(("storage", "FloatStorage", "0", "cpu", 6)) + b"Q.",
        "without a type",
    ),
    "storage handed out": (state_dict(a=identity()), "hands out a name or a storage"),
    "function handed out": (state_dict(a=REBUILD), "hands out a name or a storage"),
    "unknown dtype": (
        state_dict(a=tensor(identity(dtype="QUInt8Storage"))),
        "asks for 'torch.QUInt8Storage'",
    ),
    "endless list": (b"\x80\x02]q\x00h\x00a.", "nested without end"),
    "endless dictionary": (b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", "nested without end"),
    "deep tuple": (b"\x80\x02)" + b"\x85" * 10**5 + STOP, "nested without end"),
    "deep tuple as a key": (b"\x80\x02})" + b"\x85" * 10**5 + b"K\x01s.", "a key that is a tuple"),
    "doubled sixty times": (BOMB, "nested without end"),
    "huge memo index": (b"\x80\x02]r\xff\xff\xff\xffj\xfe\xff\xff\xff.", "that it never made"),
    "absent memo": (b"\x80\x02h\x07.", "that it never made"),
    "empty stack": (b"\x80\x02R.", "that it never made"),
    "no mark": (b"\x80\x02K\x01t.", "that it never made"),
    "two values": (b"\x80\x02K\x01K\x02.", "does not end in one value"),
    "open mark": (b"\x80\x02K\x01(K\x02.", "does not end in one value"),
    "no stop": (b"\x80\x02K\x01", "pickle exhausted"),
    "huge text": (b"\x80\x02X\xff\xff\xff\xffabc.", "expected 4294967295 bytes"),
    "huge bytes": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "expected 9223372036854775807 bytes"),
    "huge number": (b"\x80\x02\x8b\xff\xff\xff\x7f1.", "not enough data"),
    "unknown instruction": (b"\x80\x02\xff.", "opcode b'\\\\xff' unknown"),
}
TENSORS = {
    "storage shorter than it says": (tensor(identity(numel=7)), "has 24 bytes, and not the 28"),
    "storage of doubles": (tensor(identity(dtype="DoubleStorage")), "has 24 bytes, and not the 48"),
    "storage of a negative size": (tensor(identity(numel=-1)), "without a type, a name or a size"),
    "storage of a huge size": (tensor(identity(numel=2**70)), "without a type, a name or a size"),
    "storage that is absent": (tensor(identity(key="9")), "lacks the storage '9'"),
    "storage outside": (tensor(identity(key="../data.pkl")), "lacks the storage '../data.pkl'"),
    "storage whose name is a number": (tensor(identity(key=0)), "without a type, a name"),
    "offset beyond the end": (tensor(offset=1), r"\[2, 3\] beyond the end"),
    "negative offset": (tensor(offset=-1), "no count of elements"),
    "offset that is no number": (tensor(offset="0"), "no count of elements"),
    "offset that is true": (tensor(offset=True), "no count of elements"),
    "stride beyond the end": (tensor(stride=(4, 1)), r"\[2, 3\] beyond the end"),
    "negative stride": (tensor(offset=5, stride=(-3, -1)), "no count of elements"),
    "stride that overflows": (tensor(stride=(2**62, 1)), "beyond the end"),
    "size beyond the end": (tensor(size=(3, 3)), r"\[3, 3\] beyond the end"),
    "negative size": (tensor(size=(-2, 3)), "no count of elements"),
    "size that overflows": (tensor(size=(2**62, 4), stride=(0, 0)), "larger than the whole file"),
    "empty and huge": (tensor(size=(0, 2**62)), "larger than the whole file"),
    "a gigabyte of one number": (tensor(size=(2**28, 1), stride=(0, 1)), "larger than the whole"),
    "size and stride apart": (tensor(size=(2, 3), stride=(1,)), "for up to 32 axes"),
    "size that is a number": (tensor(size=6, stride=1), "for up to 32 axes"),
    "a thousand axes": (tensor(size=(1,) * 1000, stride=(1,) * 1000), "for up to 32 axes"),
}
FILES = {
    "web page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "it is a web page"),
    "text": (b"weights", "neither format"),
    "empty": (b"", "it is empty"),
    "some pickle": (pickle.dumps({"a": 1}), "not one of torch.save's"),
    "some pickle with code": (calling(os.system, "exit 3"), "asks for 'posix.system'"),
    "zip without a pickle": (archive(None), "no one data.pkl"),
    "zip with two pickles": (archive(GOOD, **{"x/data.pkl": b"."}), "no one data.pkl"),
    "zip with an absolute name": (archive(state_dict(a=tensor()), top="/etc"), "no one data.pkl"),
    "zip with a name that climbs": (archive(state_dict(a=tensor()), top=".."), None),
    "zip with two entries of a name": (twice("archive/data/0"), "two entries of one name"),
    "compressed": (
        archive(state_dict(a=tensor()), compression=zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    "zip bomb": (
        archive(b"\x80\x02" + b"N" * 10**6, compression=zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    "encrypted": (
        patched(GOOD, b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "compressed or encrypted",
    ),
    "entry beyond the end": (
        patched(GOOD, struct.pack("<LL", 24, 24), struct.pack("<LL", 10**6, 10**6)),
        "ends beyond the file",
    ),
    "two lengths": (
        patched(GOOD, struct.pack("<LL", 24, 24), struct.pack("<LL", 24, 25)),
        "is broken",
    ),
    "prefix": (b"PK\x03\x04" + GOOD[4:60], "no complete zip file"),
    "TorchScript": (
        archive(state_dict(a=tensor()), **{"constants.pkl": b".", "code/x.py": b"1"}),
        "TorchScript program.*torch.jit.load",
    ),
    "big-endian": (archive(state_dict(a=tensor()), byteorder=b"big"), "byte order is 'big'"),
    "no byte order": (archive(state_dict(a=tensor()), byteorder=b"\x1b[2J"), "byte order is"),
    "legacy big-endian": (
        legacy(state_dict(a=tensor()), system=SYSTEM | {"little_endian": False}),
        "byte order",
    ),
    "legacy without a system": (legacy(state_dict(a=tensor()), system=None), "byte order"),
    "legacy storage cut off": (
        legacy(state_dict(a=tensor(identity(view=[None]))), raw=struct.pack("<q", 6)),
        "'0' is cut off",
    ),
    "legacy storage of a negative size": (
        legacy(state_dict(a=tensor(identity(view=[None]))), raw=struct.pack("<q", -6) + DATA),
        "'0' is cut off",
    ),
    "legacy storage that is shorter": (
        legacy(state_dict(a=tensor(identity(view=[None]))), raw=struct.pack("<q", 5) + DATA),
        "has 20 bytes, and not the 24",
    ),
    "legacy without storages": (
        legacy(state_dict(a=tensor(identity(view=[None]))), keys=(), raw=b""),
        "lacks the storage '0'",
    ),
    "legacy storage twice": (
        legacy(state_dict(a=tensor(identity(view=[None]))), keys=("0", "0")),
        "of no tensor, or there twice",
    ),
    "legacy list of storages": (
        legacy(state_dict(a=tensor(identity(view=[None]))), keys=(0,)),
        "list of storages is broken",
    ),
    "legacy view beyond the end": (
        legacy(state_dict(a=tensor(identity(view=[("v", 1, 6)])))),
        "view beyond the end",
    ),
    "legacy view of a negative start": (
        legacy(state_dict(a=tensor(identity(view=[("v", -1, 6)])))),
        "does not say which part",
    ),
    "legacy view of a text": (
        legacy(state_dict(a=tensor(identity(view=["abc"])))),
        "does not say which part",
    ),
    "legacy tensor beyond its view": (
        legacy(state_dict(a=tensor(identity(view=[("v", 1, 5)])))),
        "beyond the end of its storage",
    ),
}
FILES |= {f"pickle: {key}": (archive(made), says) for key, (made, says) in PICKLES.items()}
FILES |= {
    f"tensor: {key}": (archive(state_dict(a=made)), says) for key, (made, says) in TENSORS.items()
}
