"""Configs to and from plain dictionaries, which JSON can hold."""

import dataclasses
import types
import typing
from typing import Literal


def to_dict(config):
    """A config as plain dictionaries, lists and numbers, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind, values):
    """The dataclass `kind` from what `to_dict` gave.

    A ValueError names a field that it does not know or that is missing, or a value of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} must be an object with fields, not {values!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {unknown[0]!r}; it has {', '.join(fields)}")
    missing = {name for name, f in fields.items() if _is_required(f)} - set(values)
    if missing:
        raise ValueError(f"{kind.__name__} lacks the field {sorted(missing)[0]!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _is_required(field):
    return field.default is field.default_factory is dataclasses.MISSING


def _value(hint, value):
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value)
    if types.NoneType in typing.get_args(hint):
        return None if value is None else _value(typing.get_args(hint)[0], value)
    if typing.get_origin(hint) is types.UnionType:  # of dataclasses
        return from_dict(_likest(typing.get_args(hint), value), value)
    if typing.get_origin(hint) is tuple:
        _check_type(list | tuple, value)
        return tuple(_value(typing.get_args(hint)[0], item) for item in value)
    _check_type(hint, value)
    return value


def _likest(kinds, values):
    """Of dataclasses the one that has most of the fields; the first where several do."""
    names = {*values} if isinstance(values, dict) else set()
    return max(kinds, key=lambda kind: len(names & {f.name for f in dataclasses.fields(kind)}))


def _check_type(hint, value):
    """JSON from elsewhere may hold a word where a number belongs."""
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ValueError(f"{value!r} is not allowed; allowed: {', '.join(map(repr, allowed))}")
        return
    if not isinstance(value, (float, int) if hint is float else hint):
        raise ValueError(f"{value!r} is not of the type {hint}")
