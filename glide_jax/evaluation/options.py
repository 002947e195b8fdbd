"""What evaluate.py's commands take; nothing here waits for JAX."""

import dataclasses
import runpy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import tyro

from glide_jax.guiding import CLIP, Guided

# Options of a sweep that take several values, apart by spaces or by commas.
LISTS = ("--scales", "--guides", "--samplers", "--rerank-froms", "--clip-models", "--splits")
OTHER_NAMES = {"--guidance": "--guides"}
# By an option of a drawing, the list that a sweep takes in its place.
INSTEAD = {
    **{"sampler": "--samplers", "guide": "--guides", "clip_model": "--clip-models"},
    **{"clip_scale": "--scales", "rerank_from": "--rerank-froms"},
}


@dataclass(frozen=True)
class Scoring:
    """By what pictures are judged."""

    features: str | None = None
    """The network whose features FID and the like compare: FID's Inception (its .pth or
    .safetensors file), or a classifier's name, folder or training; none is without. By default
    shapes-features, but only for pictures of its 32 pixels."""
    judge: str | None = None
    """The CLIP of the CLIP score: its name, folder or training; none is without. By default
    shapes-clip-eval, but only for pictures of its 32 pixels."""
    reference: str | None = None
    """Real pictures: a folder, an .npz, or a file that evaluate.py reference made."""
    resamplings: int = 200
    """Of the pictures, for the intervals."""

    def check_scoring(self):
        """Raises a ValueError where an interval cannot be."""
        if self.resamplings < 2:
            raise ValueError(f"--resamplings is {self.resamplings}; it must be 2 or more")


@dataclass(frozen=True)
class Judging(Scoring):
    """How pictures that are there are scored."""

    size: int | None = None
    """The side, in pixels, to which pictures are cropped and resized as ADM does; by default the
    network's own, which takes no other, or for FID's Inception the pictures'."""

    def __post_init__(self):
        self.check_scoring()
        if self.size is not None and self.size < 1:
            raise ValueError(f"--size is {self.size}; it must be 1 or more")


@dataclass(frozen=True)
class Given(Judging):
    """Scores pictures that are there, whoever made them, by those of a reference."""

    images: str = ""
    """A folder, an .npz of pictures (ADM's, uint8 arr_0 [N, H, W, 3]) or of features [N, D]."""
    out: Path = Path("evaluations/images")
    """The folder of results.json and report.html."""

    @property
    def sets(self):
        """The sets of pictures."""
        return (self.images,)


@dataclass(frozen=True)
class Comparing(Judging):
    """Scores several generators' pictures for the same captions, and puts them into one table."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Folders or .npz files, as --images takes them: one for each generator."""
    out: Path = Path("evaluations/compare")
    """The folder of results.json and report.html."""

    def __post_init__(self):
        super().__post_init__()
        check_several("compare", self.images)

    @property
    def sets(self):
        """The sets of pictures."""
        return self.images


def check_several(command, images):
    """Raises a ValueError where a command is not given two or more different sets of pictures."""
    if len(images) < 2 or len(set(images)) < len(images):
        given = " ".join(images) or "nothing"
        raise ValueError(f"{command} is given {given}; give two or more folders or .npz files")


@dataclass(frozen=True)
class Drawing(Guided, Scoring):
    """Draws pictures for captions that no training saw, and judges them by captions and look.

    With --images it scores pictures that are there. Commands, each with --help: compare, sweep,
    reference, duel, inpainting, upsampling, sdedit. --config FILE gives the options of a file.
    """

    data: str = "shapes"
    """Where the captions come from: shapes, a folder of captioned pictures, COCO's too, or
    tfds:NAME@SPLIT."""
    splits: tuple[Literal["test", "compositional"], ...] = ("test", "compositional")
    """Of shapes. compositional has pairs of colour and shape that training never shows."""
    num: int = 1024
    """Captions of each split, a third of each tier."""
    captions: Literal["pinned", "tuning"] = "pinned"
    """Of shapes. tuning gives others, to choose settings by."""
    shuffle: bool = False
    """Draws each picture from another's caption: what a model gets that cannot read."""
    upsampler: str | None = None
    """A model that enlarges the pictures before they are judged, as it is by default."""
    save: bool = False
    """Keeps the pictures, in pictures/ of the folder; else they are judged and forgotten."""
    out: Path | None = None
    """The folder of results.json, report.html and wrong-SPLIT.png; by default
    evaluations/MODEL."""

    def __post_init__(self):
        super().__post_init__()
        self.check_measure()

    def check_measure(self):
        """Raises a ValueError where there is nothing to measure."""
        self.check_scoring()
        if self.num < 3:
            raise ValueError(f"--num is {self.num}; it must be 3 or more, a caption of each tier")
        if not self.splits:
            raise ValueError("--splits is empty; allowed: test, compositional")
        if self.is_shapes and self.upsampler is not None:
            raise ValueError(
                f"--upsampler is {self.upsampler!r}, but --data is shapes: evaluate.py upsampling "
                "measures that"
            )

    @property
    def is_shapes(self):
        """Whether the referee reads the pictures."""
        return self.data == "shapes"

    @property
    def parts(self):
        """The splits that are measured: a folder is one."""
        return self.splits if self.is_shapes else ("folder",)

    @property
    def folder(self):
        """Where the results go."""
        return self.out or Path("evaluations") / Path(self.model).name


@dataclass(frozen=True)
class Sweep(Drawing):
    """The metrics over ways of guiding, their scales, samplers and steps: each with each."""

    splits: tuple[Literal["test", "compositional"], ...] = ("test",)
    num: int = 256
    captions: Literal["pinned", "tuning"] = "tuning"
    guides: tuple[Literal["cfg", "clip", "both"], ...] = ("cfg",)
    """Also --guidance. With both, --scales are the CLIP's."""
    scales: tuple[float, ...] = (0, 1, 2, 3, 5, 8, 10)
    """Lists are apart by spaces or by commas."""
    clip_models: tuple[str, ...] = (CLIP,)
    samplers: tuple[Literal["ancestral", "ddim", "dpmpp"], ...] = ("ancestral",)
    steps_each: tuple[str, ...] = ()
    """By default --steps."""
    rerank_froms: tuple[int, ...] = (1,)
    """Pictures a caption, of which --rerank-model chooses one."""

    def __post_init__(self):
        self.check_measure()  # how it is guided, each cell says

    def _check_lists(self):
        """Raises a ValueError for options of a drawing that a sweep has lists in the place of."""
        for name, option in INSTEAD.items():
            self._refuse(name, f"a sweep takes several: say {option}")
        if "both" not in self.guides:
            self._refuse("guidance_scale", "only --guides both takes it: say that or --scales")
        if set(self.rerank_froms) <= {1}:
            self._refuse("rerank_model", "there is nothing to rank: give --rerank-froms")

    def cells(self):
        """The options of each cell of the sweep; a ValueError for those that no cell would take."""
        from glide_jax.evaluation.guided import ways

        self._check_lists()
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(Drawing)}
        led = list(ways(self.guides, self.scales, self.clip_models, self.rerank_froms))
        for sampler, steps, way in product(self.samplers, self.steps_each or (self.steps,), led):
            yield Drawing(**shared | {"sampler": sampler, "steps": steps} | way)


def with_config(arguments, command):
    """The command line without --config FILE, and the options that the file's get_config() gives.

    Args:
        arguments: the command line.
        command: `Drawing` or `Sweep`.

    Returns:
        The rest of the command line, and the default of `cli.parse`, None without a --config: the
        command's own, but for what the file says otherwise than `Drawing` does.

    Raises:
        ValueError: there is no such file, or it gives no `Drawing`.
    """
    options = [argument.partition("=") for argument in arguments]
    place = next((i for i, (option, *_) in enumerate(options) if option == "--config"), None)
    if place is None:
        return arguments, None
    _, equals, value = options[place]
    stop = place + (1 if equals else 2)
    value = value if equals else "".join(arguments[place + 1 : stop])
    path = Path(value)
    if not path.is_file():
        raise ValueError(f"--config is {value!r}; give a file such as configs/eval_coco.py")
    try:
        given = runpy.run_path(str(path)).get("get_config", lambda: None)()
    except Exception as error:
        raise ValueError(f"{path} is no config that can be read: {error!r}") from error
    if not isinstance(given, Drawing):
        raise ValueError(f"{path} has no get_config() of evaluate.py: see configs/eval_coco.py")
    own = {f.name: getattr(given, f.name) for f in dataclasses.fields(Drawing)}
    said = {name: value for name, value in own.items() if value != getattr(Drawing, name)}
    return arguments[:place] + arguments[stop:], command(**said)


def with_lists(arguments):
    """A sweep's command line with `--scales 0,1,2` as `--scales 0 1 2`, as tyro takes it."""
    option = None
    for argument in arguments:
        if argument.startswith("--"):
            option, equals, value = argument.partition("=")
            option = OTHER_NAMES.get(option, option)
            yield option if option in LISTS else f"{option}{equals}{value}"
            values = value if option in LISTS else ""
        else:
            values = argument
        yield from filter(None, values.split(",") if option in LISTS else [values])
