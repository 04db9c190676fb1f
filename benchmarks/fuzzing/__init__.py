"""Parts of benchmarks/fuzz.py: mutations, one module per sort of input, and the process that reads them."""
