"""Parameters by path: chosen by name or pattern, and set apart from the others."""

from fnmatch import fnmatchcase

import jax


def path_names(params):
    """The tree of each leaf's path, "unet/out_conv/kernel"."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, _: "/".join(str(key.key) for key in keys), params
    )


def matches(path, patterns):
    """Whether a path is one of the patterns, or lies below one."""
    return any(fnmatchcase(path, p) or fnmatchcase(path, f"{p}/*") for p in patterns)


def select(params, patterns, what):
    """The tree of booleans that are true where a leaf's path matches.

    Raises a ValueError, which names `what`, for a pattern that nothing matches.
    """
    names = path_names(params)
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in jax.tree.leaves(names)):
            raise ValueError(
                f"{what} is {pattern!r}, which no parameter's path matches; "
                f"paths are such as {', '.join(_examples(names))}"
            )
    return jax.tree.map(lambda name: matches(name, patterns), names)


def _examples(names):
    """The heads of the paths, then one whole path."""
    names = jax.tree.leaves(names)
    return [*dict.fromkeys(name.split("/")[0] for name in names), names[-1]]


def partition(tree, chosen):
    """Two trees of the leaves that are chosen and of the others, each with None in their place."""
    of = lambda wanted: jax.tree.map(lambda is_in, x: x if is_in == wanted else None, chosen, tree)  # noqa: E731
    return of(True), of(False)


def overlaid(tree, part):
    """A tree of dictionaries, with the leaves of another of the same names in place of its own."""
    if not isinstance(part, dict):
        return part
    return tree | {name: overlaid(tree[name], inner) for name, inner in part.items()}


def combine(one, other):
    """What `partition` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, one, other, is_leaf=lambda x: x is None)
