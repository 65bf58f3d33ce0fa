"""Attacks on finished and running work, by kind: scripts that take minutes to hours, and no tests."""
