"""The sides of the benchmarks, each a program: ``python -m benchmarks.sides.<name> '<order as JSON>'``."""
