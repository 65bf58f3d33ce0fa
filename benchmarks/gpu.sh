#!/usr/bin/env bash
# Everything that needs a GPU, measured and tested. What is printed is also in OUT/gpu.txt, the numbers in OUT/gpu.json.
# Each part has a time limit of its own; a part that fails costs no other one, is named at the end, and makes the exit
# status 1. All parts take about 15 minutes: where a call may take ten, --only splits them in two.
#
#   benchmarks/gpu.sh [OUT] [--device cpu] [--quick] [--only NAME,NAME]
#
#   OUT        folder for the results; default: a new one below the temporary folder
#   --quick    tiny sizes, and --device cpu runs it on the CPU: to try the script where there is no GPU
#   --only     these parts alone: machine, losses, gradcache, data, tests, line, training
#
#   SUPCON_PYTHON   the interpreter: one whose torch sees the GPU; default .venv/bin/python, or else python3
#   WHEELS          folder of wheels to install first, beside that interpreter's own packages, where there is no network
#                   (docs/PERFORMANCE.md says how to fetch them)
set -uo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
out="" device=cuda quick=() only=""
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --device) device="${2:-}"; shift ;;
    --quick) quick=(--quick) ;;
    --only) only="${2:-}"; shift ;;
    -*) echo "error: $1 is no option: benchmarks/gpu.sh --help" >&2; exit 2 ;;
    *) out="$1" ;;
  esac
  shift
done
case "$device" in cpu | cuda) ;; *) echo "error: --device is cpu or cuda, not '$device'" >&2; exit 2 ;; esac
for name in ${only//,/ }; do
  case "$name" in machine | losses | gradcache | data | tests | line | training) ;; *)
    echo "error: --only has no part '$name': benchmarks/gpu.sh --help" >&2; exit 2 ;; esac
done
python="${SUPCON_PYTHON:-$here/.venv/bin/python}"
[ -n "${SUPCON_PYTHON:-}" ] || [ -x "$python" ] || python=python3
out="${out:-$(mktemp -d)}"
mkdir -p "$out" && out="$(cd "$out" && pwd)" || exit 2
wheels="${WHEELS:+$(cd "$WHEELS" && pwd)}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/parts"
exec > >(tee "$out/gpu.txt") 2>&1
cd "$here" || exit 2
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 NO_ALBUMENTATIONS_UPDATE=1
export TORCHINDUCTOR_CACHE_DIR="$work/inductor"

export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "$wheels" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "$wheels"/*.whl || exit 2
  export PYTHONPATH="$work/site:$PYTHONPATH"
fi

patience=1
[ "$device" = cuda ] || patience=5 # a try on a busy CPU is no measurement
failed=()

# part NAME SECONDS COMMAND...: run it within its limit
part() {
  local name="$1" limit=$((patience * $2)) status
  shift 2
  case ",${only:-$name}," in *",$name,"*) ;; *) return ;; esac
  printf '\n## %s\n\n' "$name"
  local began=$SECONDS
  timeout -k 5 "$limit" "$@"
  status=$?
  echo "($((SECONDS - began)) s)"
  case "$status" in
    0) ;;
    124 | 137) failed+=("$name (stopped after $limit s)") ;;
    *) failed+=("$name (status $status)") ;;
  esac
}

# measure NAME SECONDS SCRIPT...: a part that is one of the benchmarks, with its JSON
measure() {
  local name="$1" limit="$2" script="$3"
  shift 3
  part "$name" "$limit" "$python" "benchmarks/$script.py" --device "$device" --json "$work/parts/$name.json" "$@"
}

sizes=(--sizes 1024 2048 4096 8192 16384 65536 --repeats 5)
[ ${#quick[@]} -eq 0 ] || sizes=(--sizes 128 --repeats 1)
measure machine 30 gpu_machine
measure losses 60 losses "${sizes[@]}"
measure gradcache 50 gradcache "${quick[@]}"
measure data 180 gpu_data "${quick[@]}"
mapfile -t tests < <(grep -rlE 'mark\.gpu|DEVICES' tests --include='test_*.py')
part tests 120 "$python" -m pytest -q -p no:cacheprovider -m gpu "${tests[@]}"
measure line 240 gpu_line "${quick[@]}"
measure training 400 gpu_training "${quick[@]}"

"$python" benchmarks/gpu_machine.py --merge "$work/parts" --json "$out/gpu.json" || failed+=("gpu.json")
printf '\n%s s; results in %s\n' "$SECONDS" "$out"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
echo "every part ran through"
