"""The networks. The only place that knows Flax: outside it, a network is a function of arrays."""
