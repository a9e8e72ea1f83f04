"""The services of the cycle, one per file, each with `run_once`."""
