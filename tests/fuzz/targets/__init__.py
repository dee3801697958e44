"""What a fuzzer may throw at the parsers: each module has ``run(octets)``, which raises when a law is broken.

They need no fuzzer: tests/fuzz/test_targets.py runs each over its corpus.
"""
