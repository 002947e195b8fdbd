"""What a model is tried on: captions of Shapes or of a folder, and real pictures beside them."""

import numpy as np

from glide_jax.evaluation import pictures, reference, shapes_test


def items(arguments, split):
    """The captions that are drawn; those of a folder claim nothing that the referee could read."""
    if arguments.is_shapes:
        return shapes_test.items(split, arguments.num, shapes_test.SEEDS[arguments.captions])
    captions = pictures.first_captions(*reference.open_real(arguments.data, num=arguments.num))
    return [shapes_test.Item(caption, None, 0, index) for index, caption in enumerate(captions)]


def enlarged(draw, upsampler):
    """`draw`, or where there is an upsampler what it makes of what is drawn."""
    if upsampler is None:
        return draw

    def draw_large(prompts, seed):
        return upsampler.upsample(draw(prompts, seed=seed), prompts, seed=seed)

    return draw_large


def summary(tried, verdicts, is_shapes):
    """What verdicts come to; of pictures that the referee does not read, the time they took."""
    if is_shapes:
        return shapes_test.summary(tried, verdicts)
    seconds = float(np.median([verdict.seconds for verdict in verdicts]))
    return {"seconds_per_image": round(seconds, 4)}


def real(arguments, split, side, judge):
    """The arrays of pictures of --data, made once and kept in the folder, and what is said of them.

    Args:
        arguments: the options.
        split: of Shapes.
        side: of the drawn pictures, to which the real ones are cropped.
        judge: of features; with None there is nothing to compare.
    """
    if judge is None:
        return {}, None
    source, number = reference.open_real(arguments.data, split, arguments.num, side)
    told = reference.about(arguments.data, split, number, side, source, judge)
    own = pictures.hash_of_json(told)
    path = arguments.folder / "references" / f"{split}-{own}.npz"
    if not path.exists():
        reference.save(path, reference.made(source, number, side, judge, told))
    ready = pictures.open_pictures(path).ready
    within = path.relative_to(arguments.folder)  # so that a folder that was moved tells the same
    return ready, {"path": str(within), "hash": own, "n": number}
