"""Pure trading rules: plain typed Python without Flink, clock, files, environment or randomness; compiled by mypyc."""
