"""The tests. Workers of pytest-xdist run side by side, so each takes one core: said here, before torch is imported."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
