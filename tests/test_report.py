"""What a run leaves on its way: of which weights, and by which learning rate."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from glide_jax.training import report
from glide_jax.training.optimizer import make_learning_rate
from glide_jax.training.report import Report
from tests import tiny


@pytest.fixture
def own(tmp_path, tokenizer):
    """A Report of a run whose first average is of decay 0.9, without a log."""
    made = object.__new__(Report)
    optim = dataclasses.replace(
        tiny.RECIPE.optim, learning_rate=1.0, warmup_steps=10, ema_decays=(0.9, 0.5)
    )
    made.recipe = dataclasses.replace(tiny.RECIPE, optim=optim, sample_every=4, steps=100)
    made.tokenizer, made.run, made.draws = tokenizer, tmp_path, True
    made.captions, made.batch = ["a red circle"], {"image": np.zeros((1, 4, 4, 3), np.uint8)}
    made.log, made.loggers = None, []
    made.learning_rate = make_learning_rate(made.recipe)
    return made


def test_averaged_weights_are_judged_and_drawn_with(own, monkeypatch):
    judged, drawn = [], []
    own.evaluate = lambda params, batch, key: judged.append(params) or {"caption_gap": 0.0}
    monkeypatch.setattr(report, "Pipeline", lambda model, params, *more: drawn.append(params))
    monkeypatch.setattr(report, "draw_grid", lambda *_: (np.zeros((4, 4, 3), np.uint8), {}))
    weights = {name: {"w": jnp.full(1, value)} for name, value in {"0.9": 1.0, "0.5": 2.0}.items()}
    state = SimpleNamespace(params={"w": jnp.zeros(1)}, ema_params=weights)
    own.after_step(4, state, None, None, is_stopping=False)
    assert [float(params["w"][0]) for params in judged + drawn] == [1.0, 1.0]
    assert [path.name for path in (own.run / "samples").iterdir()] == ["00000004.png"]


def test_the_learning_rate_is_that_of_the_last_step_that_was_not_left_out(own):
    window = SimpleNamespace(read=lambda: {"images_per_second": 1.0}, nonfinite=2)
    bar = SimpleNamespace(set_postfix=lambda **_: None)
    # Of five steps three count: the third of eleven of a linear warm-up.
    assert own._log(5, window, bar)["learning_rate"] == pytest.approx(3 / 11)
    window.nonfinite = 5
    assert own._log(5, window, bar)["learning_rate"] == pytest.approx(1 / 11)
