"""A TFDS data set from a folder of captioned pictures or tar shards, in array_record files.

Pictures keep their bytes. Broken ones, and those without a caption, are left out and named.
"""

import contextlib
import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from typing import Annotated

import tensorflow_datasets as tfds
import tyro
from etils import epath
from tqdm import tqdm

from glide_jax.data.decode import read_rgb
from glide_jax.data.examples import BadExample
from glide_jax.data.sources import open_folder

VERSION = "1.0.0"
CAPTIONS = "captions"
NAMED = 20


@dataclass(frozen=True)
class Arguments:
    """What to build, and where."""

    folder: Annotated[str, tyro.conf.Positional]
    """Pictures with captions, or tar shards, as --data.path takes them."""
    out: str
    """The data_dir that the data set is put into; --data.path of a training."""
    name: str | None = None
    """The data set's; by default the folder's, with _ for what is no letter or digit."""
    caption_field: str | None = None
    """Of a captions.jsonl or of the .json files of tar shards; by default caption."""


def run(arguments: Arguments):
    """Builds the data set and says what is in it, and how to train on it."""
    name = arguments.name or _name_of(arguments.folder)
    number, left_out = build(arguments.folder, arguments.out, name, arguments.caption_field)
    print(f"{number} examples in {epath.Path(arguments.out) / name / VERSION}")
    if left_out:
        print(f"{len(left_out)} left out:")
        print("\n".join(f"  {reason}" for reason in left_out[:NAMED]))
        if len(left_out) > NAMED:
            print(f"  and {len(left_out) - NAMED} more")
    print(
        "to train on it: python train.py configs/folder.py --data.source tfds --data.path "
        f"{arguments.out} --data.name {name} --data.caption-field {CAPTIONS}"
    )


def _name_of(folder):
    name = re.sub(r"\W+", "_", epath.Path(folder).resolve().name, flags=re.ASCII).strip("_").lower()
    return name if name[:1].isalpha() else f"pictures_{name}".rstrip("_")


def build(folder, out, name, caption_field=None):
    """Writes a data set with a split train, whole or not at all.

    Args:
        folder: as `open_folder` takes it.
        out: the data_dir.
        name: of the data set.
        caption_field: as `open_folder` takes it.

    Returns:
        How many examples it has, in the folder's order; and why others were left out, a sentence
        for each.

    Raises:
        ValueError: the name is none, is taken, or the folder has no good example.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name, flags=re.ASCII):
        raise ValueError(f"name is {name!r}; allowed: letters, digits and _, a letter first")
    target, left_out = epath.Path(out).expanduser() / name / VERSION, []
    if target.exists():
        raise ValueError(f"{target} is there already: choose another --out or --name")
    examples = _good_examples(open_folder(folder, caption_field), left_out)
    first = next(examples, None)
    if first is None:
        raise ValueError(f"of {len(left_out)} examples none is good; {left_out[0]}")
    temporary = tempfile.mkdtemp()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it would speak of downloads
            tfds.disable_progress_bar()
            builder = _make_builder(name, first, examples)(
                data_dir=str(target.parent.parent), file_format="array_record"
            )
            builder.download_and_prepare(download_dir=temporary)
    finally:
        shutil.rmtree(temporary)
    return builder.info.splits["train"].num_examples, left_out


def _good_examples(source, left_out):
    """(index, values) of each good example; why others are none is added to `left_out`."""
    for index in tqdm(range(len(source)), unit="picture"):
        try:
            name, image, captions = source[index]
            read_rgb(image, name)
        except BadExample as error:
            left_out.append(str(error))
            continue
        yield index, {"image": image, CAPTIONS: captions}


def _make_builder(name, first, others):
    """The TFDS builder of a data set with these examples."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Captioned pictures from a folder."""

        VERSION = tfds.core.Version(VERSION)

        def _info(self):
            features = {
                "image": tfds.features.Image(),
                CAPTIONS: tfds.features.Sequence(tfds.features.Text()),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description="Captioned pictures from a folder.",
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield first
            yield from others

    Builder.name = name
    return Builder
