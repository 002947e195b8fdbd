"""What a pickle in a `.pt` file says, read without doing what it asks.

`pickle.Unpickler` calls whatever a file names, changes attributes by BUILD, and takes gigabytes for
a large memo index. This interpreter knows the few opcodes that tensors in dictionaries, lists and
tuples need; a name is looked up in a table of stand-ins, and nothing else is ever called.
"""

import pickletools
from typing import NamedTuple

import numpy as np

from glide_jax.released.torch_file.storages import DTYPES, Storage, identified

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES"),
}
IGNORED = {"PROTO", "FRAME"}
DEEPEST, MOST = 64, 2**20  # of the values that come out, counted as often as they are reached


class Name(NamedTuple):
    """A function that the file asked for and that has a stand-in here, as `module name`."""

    text: str


def unpickle(stream, tensor=None):
    """The object whose pickle starts at a stream's position; the stream is left behind it.

    Args:
        stream: has read, readline and tell, and gives no more than it holds.
        tensor: makes an array of (storage, offset, size, stride): a `Storage`, then what the file
            says, unchecked. None where the object has no tensors.

    Returns:
        Dictionaries, lists and tuples of arrays and plain values.

    Raises:
        ValueError: says what in the pickle is broken, or not needed for tensors.
    """
    machine = _Machine(tensor)
    try:
        for opcode, argument, _ in _opcodes(stream):
            machine.step(opcode.name, argument)
    except (IndexError, KeyError):
        raise ValueError("its pickle is broken: it takes values that it never made") from None
    (value,) = machine.stack[-1:] or [None]
    _check_values(value, iter(range(MOST)))
    return value


def _opcodes(stream):
    try:
        yield from pickletools.genops(stream)
    except ValueError as error:
        raise ValueError(f"its pickle is broken ({error!s:.80}): fetch the file again") from None


class _Machine:
    """A pickle's stack and memo; every opcode that needs more than a line is a method."""

    def __init__(self, tensor):
        self.stack, self.outer, self.memo = [], [], {}
        self.tensor = tensor

    def step(self, opcode, argument):
        """Carries out one opcode."""
        if opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in METHODS:
            METHODS[opcode](self, argument)
        elif opcode not in IGNORED:
            shown = f" {argument!r:.60}" if isinstance(argument, str) else ""
            raise ValueError(f"its pickle has the instruction {opcode}{shown}: no tensor needs it")

    def mark(self, _):
        self.outer.append(self.stack)
        self.stack = []

    def since_mark(self):
        """What was put on the stack since the last mark, and the stack as it was then."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def stop(self, _):
        if self.outer or len(self.stack) != 1:
            raise ValueError("its pickle is broken: it does not end in one value")

    def put(self, index):
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index):
        self.stack.append(self.memo[index])

    def empty_dict(self, _):
        self.stack.append({})

    def empty_list(self, _):
        self.stack.append([])

    def tuple_of(self, count):
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def tuple_since_mark(self, _):
        items = self.since_mark()
        self.stack.append(tuple(items))

    def append(self, items):
        target = self.stack[-1]
        _require(type(target) is list, "appends to what is no list")
        target.extend(items)

    def set_items(self, items):
        target = self.stack[-1]
        _require(type(target) is dict and len(items) % 2 == 0, "fills what is no dictionary")
        _fill(target, zip(items[::2], items[1::2], strict=True))

    def name(self, text):
        if text not in STAND_INS and text not in DTYPES:
            raise ValueError(
                f"its pickle asks for {text.replace(' ', '.')!r:.80}, which no tensor needs: save "
                "its tensors alone, by torch.save(model.state_dict(), path)"
            )
        self.stack.append(DTYPES[text] if text in DTYPES else Name(text))

    def stack_name(self, _):
        module, name = self.stack.pop(-2), self.stack.pop()
        _require(type(module) is type(name) is str, "asks for a name that is no text")
        self.name(f"{module} {name}")

    def call(self, _):
        arguments, function = self.stack.pop(), self.stack.pop()
        known = type(function) is Name and function.text in STAND_INS
        _require(known and type(arguments) is tuple, "calls what is no function of tensors")
        self.stack.append(STAND_INS[function.text](self, *_fitting(function.text, arguments)))

    def build(self, _):
        """Attributes of an OrderedDict (a module's versions, `_metadata`) are left out."""
        self.stack.pop()
        _require(type(self.stack[-1]) is dict, "sets attributes of what has none")

    def persistent(self, _):
        self.stack.append(identified(self.stack.pop()))

    def ordered_dict(self, pairs=()):
        """Python 2 gives it the items, as pairs."""
        _require(
            type(pairs) in (list, tuple)
            and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs),
            "makes a dictionary of what are no pairs",
        )
        made = {}
        _fill(made, pairs)
        return made

    def rebuild_tensor(self, storage, *where):
        _require(type(storage) is Storage and self.tensor, "makes a tensor of what is no storage")
        return self.tensor(storage, *where[:3])  # then: requires_grad, hooks, metadata

    def rebuild_parameter(self, data, *_):
        return data

    def size(self, sizes=()):
        _require(type(sizes) is tuple, "makes a size of what is no tuple")
        return sizes


METHODS = {
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_DICT": _Machine.empty_dict,
    "EMPTY_LIST": _Machine.empty_list,
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
# By the numbers of arguments that PyTorch's versions gave them.
STAND_INS = {
    "collections OrderedDict": _Machine.ordered_dict,
    "torch Size": _Machine.size,
    "torch._utils _rebuild_tensor": _Machine.rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _Machine.rebuild_tensor,
    "torch._utils _rebuild_parameter": _Machine.rebuild_parameter,
}
ARGUMENTS = {
    "collections OrderedDict": (0, 1),
    "torch Size": (0, 1),
    "torch._utils _rebuild_tensor": (4,),
    "torch._utils _rebuild_tensor_v2": (6, 7),
    "torch._utils _rebuild_parameter": (3,),
}


def _require(condition, otherwise):
    if not condition:
        raise ValueError(f"its pickle is broken: it {otherwise}")


def _fitting(name, arguments):
    expected = " or ".join(map(str, ARGUMENTS[name]))
    _require(
        len(arguments) in ARGUMENTS[name],
        f"gives {name.replace(' ', '.')} {len(arguments)} arguments, not {expected}",
    )
    return arguments


def _fill(target, pairs):
    for key, value in pairs:
        # Hashing a tuple nested deep enough overflows the interpreter's stack.
        _require(type(key) in (str, int), f"has a key that is a {type(key).__name__}, not text")
        target[key] = value


def _check_values(value, budget, depth=DEEPEST):
    """Raises where values hold themselves or each other too often, or are none to hand out."""
    if not depth or next(budget, None) is None:
        raise ValueError("its pickle is broken: its values are nested without end")
    if isinstance(value, Name | Storage | np.dtype):
        raise ValueError("its pickle hands out a name or a storage where a value belongs")
    inner = value.values() if type(value) is dict else value
    if type(value) in (dict, list, tuple):
        for each in inner:
            _check_values(each, budget, depth - 1)
