"""Built images on virtual machines of this machine, behind real Heat: for the tests of tests/image and for tools/bench.

Everything runs in a network of its own, from which nothing else can be reached; none of it is in the package.
"""
