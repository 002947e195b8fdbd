"""A model's pictures, drawn and scored batch by batch; a sweep does so for many settings."""

import sys
from functools import cache
from typing import Any, NamedTuple

from glide_jax import cli
from glide_jax.evaluation.options import Drawing, Sweep, with_config, with_lists


class Models(NamedTuple):
    """What draws, enlarges (or None) and judges, and --reference as `seen.referred` gives it."""

    pipeline: Any
    upsampler: Any
    judges: Any
    reference: Any = None

    @property
    def side(self):
        """Of the pictures that are judged, in pixels."""
        return (self.upsampler or self.pipeline).model.unet.image_size


def measure(models, arguments, split):
    """One row of results.json: what the pictures of a split come to under these settings."""
    from glide_jax.evaluation import guided, kept, results, scoring, shapes_test, tried
    from glide_jax.evaluation.pictures import hash_of_json
    from glide_jax.evaluation.wrong import WrongPictures

    pipeline, upsampler, judges, given = models
    items = tried.items(arguments, split)
    draw, settings = guided.drawer(pipeline, arguments, load_clip)
    row = _row(models, arguments, split, settings)
    if not arguments.is_shapes:
        row |= {"captions_hash": hash_of_json([item.caption for item in items])}
    # Before the pictures are drawn: of the real ones one may be broken.
    arrays, told = given or tried.real(arguments, split, models.side, judges.features)
    name, folder = f"{split}-{results.key_of(row)}", arguments.folder
    row |= {"grid": f"first/{name}.png"}
    wrong = WrongPictures(folder / "wrong" / f"{name}.jsonl")
    seen = kept.Kept(folder / "features" / name, judges)
    takers = [wrong, seen, kept.First(folder / row["grid"], row)]
    if arguments.save:
        takers.append(kept.Saved(folder / "pictures" / name, row))
        name += "-saved"

    def on_pictures(*chunk):
        for taker in takers:
            taker.add(*chunk)

    verdicts = shapes_test.try_model(
        tried.enlarged(draw, upsampler),
        items,
        folder / "verdicts" / f"{name}.jsonl",
        arguments.shuffle,
        on_pictures,
    )
    wrong.save(folder / f"wrong-{split}.png", row)
    row |= tried.summary(items, verdicts, arguments.is_shapes)
    if any(judges):
        found, out = scoring.score(seen.read(len(items)), arrays, arguments.resamplings)
        row |= found | {"reference": told, "left_out": out}
    return row | {"versions": results.versions()}


def _row(models, arguments, split, settings):
    """A row before its figures."""
    from glide_jax.evaluation import results

    row = {
        "model": arguments.model,
        "model_hash": results.hash_of(models.pipeline),
        "data": arguments.data,
        "split": split,
        "captions": arguments.captions,
        "num": arguments.num,
        "shuffle": arguments.shuffle,
        "settings": settings | {"dtype": str(models.pipeline.dtype)},
    }
    if models.upsampler is not None:
        row |= {"upsampler_hash": results.hash_of(models.upsampler)}
    return row | models.judges.told()


def load_models(arguments, load):
    """The Models of the options, but --reference; a ValueError where one does not fit the other."""
    from glide_jax.evaluation import judges

    pipeline, upsampler = load(arguments.model, arguments.dtype), None
    if arguments.upsampler:
        upsampler = load(arguments.upsampler, arguments.dtype)
        _check_enlarges(upsampler, pipeline, arguments)
    own = Models(pipeline, upsampler, None)
    own = own._replace(judges=judges.load(arguments, lambda side: side == own.side))
    sees = own.judges.features
    if sees is not None and sees.side not in (None, own.side):
        raise ValueError(
            f"--features is {arguments.features!r}, which takes pictures of {sees.side} pixels; "
            f"here they have {own.side}"
        )
    return own


def _check_enlarges(upsampler, pipeline, arguments):
    """Raises a ValueError where an upsampler does not enlarge what the other model draws."""
    takes, gets = upsampler.model.unet.low_res_size, pipeline.model.unet.image_size
    if takes != gets:
        what = f"enlarges pictures of {takes} pixels" if takes else "is no upsampler"
        raise ValueError(
            f"--upsampler {arguments.upsampler!r} {what}; {arguments.model!r} draws {gets} pixels"
        )


def ready(arguments, cells, load):
    """The Models for all cells; a ValueError, before a picture is drawn, for what would stop one.

    Args:
        arguments: the options that cells share.
        cells: the `options.Drawing`s.
        load: makes a Pipeline of a model's name and a dtype.
    """
    from glide_jax.evaluation import guided, seen

    models = load_models(arguments, load)
    for cell in cells:
        guided.check(models.pipeline, cell, load_clip)
    if arguments.reference is None or not any(models.judges):
        return models
    given = seen.referred(arguments.reference, models.judges.features, models.side)
    return models._replace(reference=given)


def table(rows):
    """The rows as a table to read."""
    from glide_jax.evaluation import guided
    from glide_jax.evaluation.scores import in_words

    yield "| split | guidance | sampler | steps | holds | tier 1, 2, 3 | fails by | s/image |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        settings = row["settings"]
        tiers = ", ".join(f"{100 * tier['value']:.0f} %" for tier in row["by_tier"].values())
        kinds = ", ".join(f"{kind} {number}" for kind, number in row["failures"].items() if number)
        cells = (
            row["split"] + (", shuffled" if row["shuffle"] else ""),
            guided.in_words(settings),
            settings["sampler"],
            settings["steps"],
            in_words(row["caption_accuracy"]),
            tiers,
            kinds or "none",
            f"{row['seconds_per_image']:.2f}",
        )
        yield "| " + " | ".join(cells) + " |"


@cache
def load_clip(name, dtype):
    """The NoisedClip of a name, loaded once for all cells; a published one is fetched."""
    from glide_jax import NoisedClip
    from glide_jax.released.ready import ready

    return NoisedClip.load(ready(name), dtype)


def main(arguments, load, command=Drawing):
    """Parses, draws, measures, tells; `load` makes a Pipeline of a model's name and a dtype."""
    from glide_jax.evaluation import results, shown

    prog = "evaluate.py sweep" if command is Sweep else "evaluate.py"
    rest, default = with_config(arguments, command)
    parsed = cli.parse(command, rest, prog, command.__doc__, default)
    results.check_folder(parsed.folder, adds=True)
    cells = list(parsed.cells()) if command is Sweep else [parsed]
    models, rows = ready(parsed, cells, load), []
    for cell in cells:
        for split in cell.parts:
            rows.append(measure(models, cell, split))
            results.add_row(parsed.folder / "results.json", rows[-1])
    if parsed.is_shapes:
        print("\n".join(table(rows)))
    shown.show(parsed.folder, [prog, *arguments], rows)
    print(f"{parsed.folder}/results.json: {len(rows)} new rows", file=sys.stderr)


def sweep(arguments, load):
    """The command evaluate.py sweep."""
    main(list(with_lists(arguments)), load, Sweep)
