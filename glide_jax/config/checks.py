"""How a config refuses a value: a ValueError that names the field, the value, what is allowed."""

UNIT = "0 to below 1"


def require(holds, what, value, allowed):
    """Raises a ValueError unless `holds`."""
    if not holds:
        raise ValueError(f"{what} is {value!r}; allowed: {allowed}")


def at_least(config, least, *names):
    """Requires each of a config's fields of these names to be `least` or more."""
    for name in names:
        value = getattr(config, name)
        require(value >= least, f"{type(config).__name__}.{name}", value, f"{least} or more")


def multiples_of(config, name, divisor):
    """Requires one of a config's fields to be a multiple of another."""
    value, divisible = getattr(config, name), getattr(config, name) % getattr(config, divisor) == 0
    require(divisible, f"{type(config).__name__}.{name}", value, f"multiples of {divisor}")


def check_seed(name, value):
    """Requires a seed that a JAX key can be made of."""
    require(0 <= value < 2**32, name, value, f"0 to {2**32 - 1}")
