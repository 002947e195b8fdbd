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


class Function(NamedTuple):
    """A function that the file asked for and that has a stand-in here, as `module name`."""

    name: str


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
        for opcode, argument in _opcodes(stream):
            machine.step(opcode, argument)
    except (IndexError, KeyError):
        raise ValueError("its pickle is broken: it takes values that it never made") from None
    (value,) = machine.stack
    _check_values(value, iter(range(MOST)))
    return value


def _opcodes(stream):
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            yield opcode.name, argument
    except ValueError as error:
        raise ValueError(f"its pickle is broken ({error!s:.80}): fetch the file again") from None


class _Machine:
    """A pickle's stack and memo. What takes from an empty one is an IndexError or a KeyError."""

    def __init__(self, tensor):
        self.stack, self.outer, self.memo = [], [], {}
        self.tensor = tensor

    def step(self, opcode, argument):
        """Carries out one opcode."""
        if opcode in CONSTANTS:
            self.push(CONSTANTS[opcode])
        elif opcode in LITERALS:
            self.push(argument)
        elif opcode in METHODS:
            METHODS[opcode](self, argument)
        elif opcode not in IGNORED:
            shown = f" {argument!r:.60}" if isinstance(argument, str) else ""
            raise ValueError(f"its pickle has the instruction {opcode}{shown}: no tensor needs it")

    def push(self, value):
        self.stack.append(value)

    def stop(self, _):
        _require(not self.outer and len(self.stack) == 1, "does not end in one value")

    def put(self, index):
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index):
        self.push(self.memo[index])

    def mark(self, _):
        self.outer.append(self.stack)
        self.stack = []

    def since_mark(self):
        """Takes what was put on the stack since the last mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def last(self, count):
        """Takes the last values off the stack."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def append(self, items):
        _require(type(self.stack[-1]) is list, "appends to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items):
        fits = type(self.stack[-1]) is dict and len(items) % 2 == 0
        _require(fits, "fills what is no dictionary")
        self.stack[-1].update(_dictionary(zip(items[::2], items[1::2], strict=True)))

    def find(self, name):
        if name not in FUNCTIONS and name not in DTYPES:
            raise ValueError(
                f"its pickle asks for {name.replace(' ', '.')!r:.80}, which no tensor needs: save "
                "its tensors alone, by torch.save(model.state_dict(), path)"
            )
        self.push(DTYPES[name] if name in DTYPES else Function(name))

    def find_by_stack(self, _):
        names = self.last(2)
        _require(all(type(name) is str for name in names), "asks for a name that is no text")
        self.find(" ".join(names))

    def call(self, _):
        function, arguments = self.last(2)
        fits = type(function) is Function and type(arguments) is tuple
        _require(fits, "calls what is no function of tensors")
        stand_in, counts = FUNCTIONS[function.name]
        _require(
            len(arguments) in counts,
            f"gives {function.name.replace(' ', '.')} {len(arguments)} arguments, "
            f"not {' or '.join(map(str, counts))}",
        )
        self.push(stand_in(self, *arguments))

    def build(self, _):
        """Attributes of an OrderedDict (a module's versions, `_metadata`) are left out."""
        target, _ = self.last(2)
        _require(type(target) is dict, "sets attributes of what has none")
        self.push(target)

    def persistent(self, _):
        self.push(identified(self.stack.pop()))

    def rebuild_tensor(self, storage, offset, size, stride, *_):
        """The rest is requires_grad, hooks and metadata."""
        _require(type(storage) is Storage and self.tensor, "makes a tensor of what is no storage")
        return self.tensor(storage, offset, size, stride)

    def rebuild_parameter(self, data, *_):
        return data

    def size(self, sizes=()):
        _require(type(sizes) is tuple, "makes a size of what is no tuple")
        return sizes

    def ordered_dict(self, pairs=()):
        """Python 2 gives it the items, as pairs."""
        fits = type(pairs) in (list, tuple) and all(
            type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs
        )
        _require(fits, "makes a dictionary of what are no pairs")
        return _dictionary(pairs)


METHODS = {
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "APPEND": lambda machine, _: machine.append(machine.last(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": _Machine.find,
    "STACK_GLOBAL": _Machine.find_by_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
# Each with how many arguments PyTorch's versions give it.
FUNCTIONS = {
    "collections OrderedDict": (_Machine.ordered_dict, (0, 1)),
    "torch Size": (_Machine.size, (0, 1)),
    "torch._utils _rebuild_tensor": (_Machine.rebuild_tensor, (4,)),
    "torch._utils _rebuild_tensor_v2": (_Machine.rebuild_tensor, (6, 7)),
    "torch._utils _rebuild_parameter": (_Machine.rebuild_parameter, (3,)),
}


def _require(condition, otherwise):
    if not condition:
        raise ValueError(f"its pickle is broken: it {otherwise}")


def _dictionary(pairs):
    made = {}
    for key, value in pairs:
        # Hashing a tuple nested deep enough overflows the interpreter's stack.
        _require(type(key) in (str, int), f"has a key that is a {type(key).__name__}, not text")
        made[key] = value
    return made


def _check_values(value, budget, depth=DEEPEST):
    """Raises where values hold themselves or each other too often, or are none to hand out."""
    if not depth or next(budget, None) is None:
        raise ValueError("its pickle is broken: its values are nested without end")
    if isinstance(value, Function | Storage | np.dtype):
        raise ValueError("its pickle hands out a name or a storage where a value belongs")
    if type(value) in (dict, list, tuple):
        for inner in value.values() if type(value) is dict else value:
            _check_values(inner, budget, depth - 1)
