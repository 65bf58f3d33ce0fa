"""Attacks on finished and running work, a module a kind; `python -m tests.attacks` prints a table of the short ones."""
