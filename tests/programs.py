"""What is in a traced program."""

from jax.extend.core import jaxprs_in_params


def equations(program):
    """All equations of a traced program, those of its inner programs included."""
    for eqn in program.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)


def calls(program, name):
    """How often a traced program calls the jitted function of this name."""
    return sum(eqn.params.get("name") == name for eqn in equations(program))
