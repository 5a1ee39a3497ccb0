"""Random hostile cases for `make soak`, and in small numbers for the tests.

Each generator takes a random generator and a count, and yields a label and a function of no
arguments: it returns where all is well and raises an error that says what is not.
"""
