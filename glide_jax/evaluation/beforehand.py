"""What would stop a measurement on its way is refused before its first picture is drawn."""

from glide_jax.drawing import Order
from glide_jax.settings import Settings


def check_settings(model, how):
    """Raises a ValueError where a method of `Pipeline` would refuse its settings.

    Args:
        model: the `config.Diffusion` that draws.
        how: arguments of the method by name.
    """
    Order(batch_size=how["batch_size"]).check([""])
    own = how | ({"inpaint_method": how["method"]} if "method" in how else {})
    settings = Settings(**{name: own[name] for name in Settings._fields if name in own})
    settings.check()
    settings.trajectory(model)
