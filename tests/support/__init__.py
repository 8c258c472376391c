"""What tests and benchmarks share: small real things to test against, faults on purpose, made-up recordings."""
