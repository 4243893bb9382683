"""The scorer's engine: which rows there will be, how they are computed, kept through any stop, written."""
