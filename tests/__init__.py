"""The tests. Workers of pytest-xdist run side by side, so each takes one core: said here, before torch is imported."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # where a test takes more, those that wait sleep
