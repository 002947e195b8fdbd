"""The figures that take no network: schedules, respacing, single steps, whole runs, losses."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax.diffusion import gaussian, losses, steppers
from glide_jax.diffusion.respacing import spaced_timesteps
from glide_jax.diffusion.samplers import sample
from glide_jax.diffusion.schedule import Schedule, make_schedule, respace
from glide_jax.diffusion.trajectory import (
    inversion_trajectory,
    make_trajectory,
    reverse_trajectory,
    steps_between,
)
from glide_jax.released.parity.drawing import nchw, nhwc, tensor
from glide_jax.released.parity.measure import Check, Limit, read_npz

STEPS = Limit(5e-5, 1e-6)  # relative for the one figure that is far from 1: 334
SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


def denoise(x, t):
    """The stand-in network: eps = tanh(0.7 x + 0.3 t / 1000), v = sin(1.3 x - t / 1000)."""
    u = gaussian.expand(t.astype(jnp.float32), x) / 1000
    return jnp.concatenate([jnp.tanh(0.7 * x + 0.3 * u), jnp.sin(1.3 * x - u)], axis=-1)


def score(x, t):
    """The stand-in gradient: cos(x) (1 + t / 1000)."""
    return jnp.cos(x) * (1 + gaussian.expand(t.astype(jnp.float32), x) / 1000)


def checks(folder, salt):
    """The Checks of diffusion.npz and respacing.json, of those that the folder has."""
    if (folder / "respacing.json").exists():
        published = json.loads((folder / "respacing.json").read_text())
        published = {key: np.array(steps) for key, steps in published.items()}
        yield Check("respacing", partial(_respacing, published), published, lambda key: Limit())
    if not (folder / "diffusion.npz").exists():
        return
    figures = read_npz(folder / "diffusion.npz")
    groups = {}
    for key in figures:
        groups.setdefault(key.partition("/")[0], []).append(key)
    for name, keys in groups.items():
        published = {key: figures[key] for key in keys}
        yield Check(*_kind(name, figures, salt), published, partial(limit, published))


def limit(published, key):
    """How far a figure of diffusion.npz may be off."""
    group, _, figure = key.partition("/")
    if key.endswith("variance") and "/p" in key or figure == "prior_bpd":
        return STEPS if key.endswith("log_variance") else Limit(relative=1e-3)
    if group.startswith("loss-"):
        return {"x_t": Limit(1e-6), "grad_out": Limit(2e-5)}.get(figure, Limit(5e-6, 2e-5))
    if figure == "ancestral_noclip":
        return Limit(1e-5 * float(np.abs(published[key]).max()))
    is_run = group.partition("-")[2] in ("20", "fast27")
    return STEPS if is_run else Limit(relative=1e-12)


def _kind(name, figures, salt):
    """The title of a group of figures and what computes it."""
    if name.startswith("loss-"):
        return name, partial(_losses, name, salt)
    schedule, _, spec = name.partition("-")
    if f"{name}/betas" in figures:
        return f"schedule {name}", partial(_schedule, name, make_schedule(schedule, int(spec)))
    respaced = respace(make_schedule(schedule), spaced_timesteps(1000, spec))
    return f"steps and runs {name}", partial(_run, name, respaced, salt)


def _respacing(published):
    found = {}
    for key in published:
        total, _, spec = key.partition(":")
        found[key] = spaced_timesteps(int(total), spec)
    return found


def _schedule(name, schedule: Schedule):
    fields = schedule._asdict().items()
    return {f"{name}/{field}": values for field, values in fields if field != "timesteps"}


def _run(name, schedule, salt):
    """Single steps at four places of a run, and whole runs."""
    draw = partial(_drawn, name, salt)
    x_T, total = draw("xT", (2, 3, 8, 8)), len(schedule.betas)
    noise = np.stack([draw(f"noise{k}", (2, 3, 8, 8)) for k in range(total)])
    found = _whole_runs(schedule, x_T, noise)
    for i in (0, 1, total // 2, total - 1):
        found |= {f"p{i}/{key}": value for key, value in _prediction(schedule, i, x_T).items()}
        if i:
            steps = _single_steps(schedule, i, x_T, noise[:1])
            found |= {f"p{i}/{key}": value for key, value in steps.items()}
    return {f"{name}/{key}": nchw(value) for key, value in found.items()}


def _drawn(name, salt, what, shape):
    return nhwc(tensor(f"input:{name}/{what}", shape, salt))


def _whole_runs(schedule, x_T, noise):
    trajectory = reverse_trajectory(schedule)
    kinds = {
        "ancestral": (steppers.ancestral(), {}),
        "ancestral_noclip": (steppers.ancestral(), {"clip": False}),
        "ancestral_cond": (steppers.ancestral(), {"score_fn": score}),
        "ddim_eta0": (steppers.ddim(), {}),
        "ddim_eta1": (steppers.ddim(1.0), {}),
        "ddim_cond": (steppers.ddim(), {"score_fn": score}),
    }
    return {
        key: jax.jit(partial(_sample, stepper=stepper, **options))(x_T, trajectory, noise)
        for key, (stepper, options) in kinds.items()
    }


def _sample(x_T, trajectory, noise, *, stepper, **options):
    return sample(denoise, x_T, None, trajectory, stepper, noise=noise, **options)


def _prediction(schedule, i, x_t):
    """What the step at position i predicts."""
    c = jax.tree.map(lambda column: column[i], gaussian.coefficients(schedule))
    t = jnp.full(len(x_t), schedule.timesteps[i], jnp.int32)
    eps, fraction = gaussian.split_output(denoise(x_t, t))
    x_0 = jnp.clip(gaussian.predict_x_0(x_t, eps, c), -1, 1)
    log_variance = gaussian.learned_log_variance(fraction, c)
    return {
        "mean": gaussian.posterior_mean(x_0, x_t, c),
        "variance": jnp.exp(log_variance),
        "log_variance": log_variance,
        "pred_xstart": x_0,
    }


def _single_steps(schedule, i, x_T, noise):
    entry = make_trajectory(schedule, np.array([i]), np.array([i - 1]))
    guided = {"score_fn": lambda x, t: 0.1 * score(x, t)}
    near = np.float32(0.3) * x_T
    up = _upwards(schedule, i)
    return {
        "ancestral": _sample(x_T, entry, noise, stepper=steppers.ancestral()),
        "ancestral_cond": _sample(x_T, entry, noise, stepper=steppers.ancestral(), **guided),
        "ddim_eta1": _sample(x_T, entry, noise, stepper=steppers.ddim(1.0)),
        "ddim_cond": _sample(near, entry, noise, stepper=steppers.ddim(), **guided),
        "ddim_reverse": _sample(near, up, None, stepper=steppers.ddim_inversion()),
    }


def _upwards(schedule, i):
    """The inversion's step at position i; the published code leads the last one to pure noise."""
    if i < len(schedule.betas) - 1:
        return steps_between(inversion_trajectory(schedule), i, i + 1)
    return make_trajectory(schedule, np.array([i]), np.array([i]))._replace(
        sqrt_alphas_cumprod_next=np.zeros(1, np.float32),
        sqrt_one_minus_alphas_cumprod_next=np.ones(1, np.float32),
    )


def _losses(name, salt):
    _, kind, total = name.split("-")
    schedule, t = make_schedule(SCHEDULES[kind], int(total)), [0, 1, int(total) // 4]
    t = jnp.array([*t, int(total) - 1])
    x_0, eps = (_drawn(name, salt, what, (4, 3, 8, 8)) for what in ("x0", "eps"))
    x_0 = np.clip(x_0, -1, 1)
    x_t = gaussian.q_sample(x_0, eps, gaussian.coefficients_at(schedule, t))

    def of_output(output):
        return losses.hybrid_loss(lambda x, t: output, schedule, x_0, t, eps)

    output = denoise(x_t, t)
    found = dict(of_output(output)) | {"prior_bpd": losses.prior_bpd(schedule, x_0)}
    gradient = jax.jit(jax.grad(lambda output: of_output(output)["loss"].sum()))(output)
    found |= {"x_t": nchw(x_t), "grad_out": nchw(gradient)}
    return {f"{name}/{key}": value for key, value in found.items()}
