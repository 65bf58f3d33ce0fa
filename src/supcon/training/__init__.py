"""Training and evaluation: the loop (`loop`), its optimizer (`optimizer`), its log (`log`), prediction (`evaluate`)."""

import sys

from supcon.errors import need_memory

if "torch" not in sys.modules:
    need_memory(600_000_000, "torch")  # its libraries end the process where they get none
