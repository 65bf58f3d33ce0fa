#!/usr/bin/env bash
# The table of docs/PERFORMANCE.md: the stages beside a plain loop. Takes the flags of benchmarks/speed/table.py.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
exec "${SUPCON_PYTHON:-$here/.venv/bin/python}" "$here/benchmarks/speed/table.py" "$@"
