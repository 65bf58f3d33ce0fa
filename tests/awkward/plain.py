"""The ordinary competition itself."""

from tests.awkward.case import Case

CASES = [Case("ordinary", lambda folder: None)]
