"""TFDS data sets at random access, without TensorFlow; `build` makes one of a folder.

python -m glide_jax.data.tfds build FOLDER --out DATA_DIR
"""

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.file_adapters import FileFormat

from glide_jax import cli
from glide_jax.config import Data
from glide_jax.data.examples import BadExample, Example, captions_in

USAGE = "usage: python -m glide_jax.data.tfds build FOLDER --out DATA_DIR; with --help it lists all"


class Tfds:
    """The pictures and captions of a TFDS data set; a record's other fields are not looked at.

    Args:
        name: what to call it where something is wrong.
        records: its serialised examples, by index.
        features: the FeaturesDict of pictures and captions.
        image: the path of the pictures in it.
        caption: the path of the captions.
    """

    def __init__(self, name, records, features, image: tuple[str, ...], caption: tuple[str, ...]):
        self.name, self.records, self.features = name, records, features
        self.image, self.caption = image, caption

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        values, name = self._values(index), f"{self.name}, example {index}"
        return Example(name, _at(values, self.image), self._captions(values, name))

    def captions(self, index):
        """The captions of one example."""
        return self._captions(self._values(index), f"{self.name}, example {index}")

    def _values(self, index):
        undecoded = _nested(self.image, tfds.decode.SkipDecoding())
        try:
            return self.features.deserialize_example_np(self.records[index], decoders=undecoded)
        except Exception as error:  # a record that is broken, in whichever way
            raise BadExample(f"{self.name}, example {index} cannot be read: {error}") from error

    def _captions(self, values, name):
        try:
            return captions_in(list(_strings(_at(values, self.caption))), name)
        except UnicodeDecodeError:
            raise BadExample(f"{name}: its caption is not UTF-8") from None


def _at(values, path):
    for part in path:
        values = values[part]
    return values


def _nested(path, value):
    """{"a": {"b": value}} for the path ("a", "b")."""
    for part in reversed(path):
        value = {part: value}
    return value


def _strings(value):
    """The strings in a feature's value, a string or any nesting of them."""
    if isinstance(value, bytes | str):
        yield value.decode() if isinstance(value, bytes) else value
    else:
        for inner in value:
            yield from _strings(inner)


def open_tfds(data: Data) -> Tfds:
    """A prepared data set of the user's.

    Raises:
        ValueError: it is not there, is not in array_record files, or lacks the split or a field.
    """
    for field, example in (("name", "coco_captions"), ("caption_field", "captions/text")):
        if getattr(data, field) is None:
            raise ValueError(f"Data.{field} is None; the source tfds takes one, such as {example}")
    builder = _find(data)
    if FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise ValueError(
            f"{builder.data_path} has {builder.info.file_format.value} files, which cannot be read "
            "at random; prepare the data set with file_format='array_record'"
        )
    image, caption = _check_fields(data, builder.info.features)
    try:
        records = builder.as_data_source(
            data.split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format=FileFormat.ARRAY_RECORD,
        )
    except ValueError as error:
        raise ValueError(
            f"Data.split is {data.split!r}; {data.name} has {', '.join(builder.info.splits)}, "
            "and parts of them, such as train[:90%]"
        ) from error
    features = _cut(builder.info.features, (image, caption))
    return Tfds(f"{data.name} {data.split}", records, features, image, caption)


def _find(data):
    """The builder of a prepared data set, without the code that prepared it."""
    where = epath.Path(data.path or tfds.core.constants.DATA_DIR).expanduser()
    try:
        return read_only_builder.builder_from_files(data.name, data_dir=str(where))
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        inside = where.iterdir() if where.is_dir() else ()
        there = sorted(path.name for path in inside if path.is_dir())
        raise ValueError(
            f"Data.name is {data.name!r}, and {where} has no such data set; "
            f"it has {', '.join(there) or 'none'}"
        ) from error


def _check_fields(data, features):
    """The paths of the pictures and of the captions."""
    leaves = dict(sorted(_leaves(features), key=lambda leaf: leaf[0]))
    has = ", ".join("/".join(path) + f" ({type(leaf).__name__})" for path, leaf in leaves.items())
    paths = []
    for field, kind, is_one in (
        ("image_field", "pictures", lambda leaf: isinstance(leaf, tfds.features.Image)),
        ("caption_field", "text", lambda leaf: leaf.np_dtype == np.dtype(object)),
    ):
        path = tuple(getattr(data, field).split("/"))
        if path not in leaves or not is_one(leaves[path]):
            raise ValueError(
                f"Data.{field} is {'/'.join(path)!r}, which is no feature of {data.name} with "
                f"{kind}; it has {has}"
            )
        paths.append(path)
    return paths


def _leaves(feature, path=()):
    """(path, feature) of each feature that holds values; a sequence's path is its elements'."""
    if isinstance(feature, tfds.features.FeaturesDict):
        for name, inner in feature.items():
            yield from _leaves(inner, (*path, name))
    elif _is_sequence(feature) and not isinstance(feature.feature, tfds.features.Image):
        yield from _leaves(feature.feature, path)
    else:
        yield path, feature


def _is_sequence(feature):
    return type(feature) is tfds.features.Sequence


def _cut(feature, wanted, path=()):
    """A feature with only what the wanted paths lead to: nothing else is parsed then."""
    if isinstance(feature, tfds.features.FeaturesDict):
        inner = ((name, value, (*path, name)) for name, value in feature.items())
        return tfds.features.FeaturesDict(
            {
                name: _cut(value, wanted, here)
                for name, value, here in inner
                if any(each[: len(here)] == here for each in wanted)
            }
        )
    if _is_sequence(feature):
        return tfds.features.Sequence(_cut(feature.feature, wanted, path))
    return feature


def main(arguments):
    """Parses and builds."""
    if arguments[:1] != ["build"]:
        if set(arguments) & {"-h", "--help"}:
            print(USAGE)
            return
        raise ValueError(f"there is one command, build; {USAGE}")

    from glide_jax.data import tfds_build

    prog = "python -m glide_jax.data.tfds build"
    tfds_build.run(cli.parse(tfds_build.Arguments, arguments[1:], prog, tfds_build.__doc__))


if __name__ == "__main__":
    cli.entry_point(main, "tfds build")
