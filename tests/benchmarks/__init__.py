"""How fast this library lists, against its peers. Run `python -m tests.benchmarks --help`."""
