"""What tells rows of results apart, in words: for the names of curves and of grids."""

import json

from etils import epath

# What rows can differ in beside the model, the sampler, the steps and what guides and chooses.
NAMES = (
    *("split", "captions", "num", "shuffle", "data", "captions_hash", "upsampler_hash"),
    *("guidance_interval", "dynamic_threshold", "eta", "negative_prompt", "dtype"),
)


def differing(rows):
    """Those of NAMES whose values differ between rows; and CLIPs, where a name has to tell more.

    Those that guide are told by their last names anyhow, those that rank not at all.
    """
    found = [name for name in NAMES if len({json.dumps(_value(row, name)) for row in rows}) > 1]
    guiding, ranking = (
        {own for row in rows if (own := _value(row, name))} for name in ("clip", "rerank_model")
    )
    found += ["clip"] * (len({epath.Path(own).name for own in guiding}) < len(guiding))
    return found + ["rerank_model"] * (len(ranking) > 1)


def in_words(row, names):
    """What a row has of the names, a part for each: ["split test", "guidance interval 0 to 9"]."""
    values = {name.replace("_", " "): _value(row, name) for name in names}
    return [_part(name, value) for name, value in values.items() if value not in (None, "")]


def _value(row, name):
    """What a row says under a name, itself or in its settings; None for what is not so."""
    value = row.get(name, row["settings"].get(name))
    return None if value is False else value


def _part(name, value):
    if value is True:
        return name
    return f"{name} {' to '.join(map(str, value)) if isinstance(value, list) else value}"
