#!/usr/bin/env bash
# The pipeline, from the host's files to submission.csv. `./run.sh` alone lists the commands.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${SUPCON_PYTHON:-$here/.venv/bin/python}"
export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}" # an interpreter of SUPCON_PYTHON has not installed the package

usage() {
  cat <<'TEXT'
usage: ./run.sh COMMAND [options]        every stage takes --help

  all        doctor, then the stages from folds to ensemble         ./run.sh all --config configs/demo.yaml
  doctor     what was understood of input/, how long it will take   ./run.sh doctor --time_budget 2h
  folds      split the training rows                                ./run.sh folds --data.folds 5
  pseudo     labels by an earlier run, to train a second round on   ./run.sh pseudo --run two --pseudo.run one
  pretrain   contrast in balanced batches, an encoder a fold        ./run.sh pretrain --fold 0 1
  finetune   train the classifiers                                  ./run.sh finetune --fold 3
             both: four GPUs that share every batch                 ./run.sh all --nproc 4
  predict    out-of-fold and test logits                            ./run.sh predict --fold 3
             these three: also one model on all rows, for ensemble  ./run.sh finetune --fold full
             these four, all, study: several at once, on Ray        ./run.sh all --jobs 4
  tune       temperature, prior strength and thresholds             ./run.sh tune --tune.trials 300
  ensemble   merge, decide, write submissions/submission.csv        ./run.sh ensemble
             several runs: tune their blend too                     ./run.sh ensemble --run mix --runs a b c
             or one model of all of them: average their weights     ./run.sh ensemble --run one --runs a b c --soup greedy
  soup       that average alone, in place of training               ./run.sh soup --run one --runs a b c --soup greedy
  report     a page on a run: where the next point is               ./run.sh report --corruptions
  compare    runs side by side, and who is better                   ./run.sh compare demo cross_entropy
  fewshot    the features judged by a few labelled rows a class     ./run.sh fewshot --ways 5 --shots 1
  bundle     a folder and zip for a notebook without network        ./run.sh bundle --run demo
  notebook   train on the host: a notebook, and what it needs       ./run.sh notebook --time_budget 8h
  check      does a file fit sample_submission.csv?                 ./run.sh check submissions/mine.csv
  download   fetch the host's files into an empty input/            ./run.sh download digit-recognizer
  submit     check, upload, fetch the public score                  ./run.sh submit -m "five folds"
  ledger     every submission: score here, public score there       ./run.sh ledger --refresh
  study      compare variants at the same image passes              ./run.sh study studies/digits.yaml
  setup      make .venv, install requirements.txt and the package   ./run.sh setup
  test       lint, types and the tests but the slow ones            ./run.sh test
  test-all   lint, types and all tests                              ./run.sh test-all
TEXT
}

fail() { printf 'error: %s\n' "$1" >&2; exit 2; }

# setup FILE: make .venv once, install FILE when it has changed since
setup() {
  local wanted="$here/$1" stamp="$here/.venv/.installed-$1" log="$here/.venv/install.log"
  if [ -n "${SUPCON_PYTHON:-}" ]; then
    [ "$("$SUPCON_PYTHON" -c 'print(1)' 2>/dev/null)" = 1 ] || fail "SUPCON_PYTHON names '$SUPCON_PYTHON', which is no interpreter"
    "$SUPCON_PYTHON" -m supcon.environment >/dev/null || exit 2 # a line for each package that is not as it should be
    export SUPCON_CHECKED=1
    return
  fi
  cat "$here/pyproject.toml" "$here/requirements.txt" "$wanted" 2>/dev/null | cmp -s - "$stamp" && return
  if [ ! -x "$python" ]; then
    local base
    for base in python3.13 python3.12 python3.11 python3; do
      command -v "$base" >/dev/null && "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
      base=""
    done
    [ -n "$base" ] || fail "Python 3.11 or newer is needed: install it, or name one with SUPCON_PYTHON"
    "$base" -m venv "$here/.venv" || fail "$base could not make .venv: install its venv module (Debian: python3-venv)"
  fi
  echo "installing $1 into .venv (a few minutes the first time)" >&2
  if ! {
    "$python" -m pip install --disable-pip-version-check -r "$wanted" &&
      "$python" -m pip install --disable-pip-version-check --no-deps -e "$here"
  } >"$log" 2>&1; then
    local line
    line="$(grep -m1 -E '^ERROR: (No matching distribution|Could not find|Cannot install|Failed)' "$log" || grep -m1 '^ERROR' "$log" || tail -n1 "$log")"
    fail "install of $1 failed: ${line#ERROR: } -- check the network and that pin, then ./run.sh setup again (log: $log)"
  fi
  cat "$here/pyproject.toml" "$here/requirements.txt" "$wanted" >"$stamp"
}

# run COMMAND: one of several; a signal to this script alone is one to the command too, and ends both
run() {
  local status
  (trap - INT TERM HUP; exec "$@") <&0 & # the trap: what "&" starts would ignore Ctrl-C
  child=$!
  while status=0; wait "$child" || status=$?; kill -0 "$child" 2>/dev/null; do :; done # a signal ends `wait` early
  child=""
  [ "$signal" = 0 ] || exit $((128 + signal))
  return "$status"
}
pass_on() { signal="$1"; [ -n "$child" ] || exit $((128 + signal)); kill -"$signal" "$child" 2>/dev/null || true; }
child="" signal=0
trap 'pass_on 2' INT
trap 'pass_on 15' TERM
trap 'pass_on 1' HUP

start=run # exec for the last stage: signals then reach it as they come
stage() { local script="$1"; shift; "$start" "$python" "$here/src/$script.py" "$@"; }
tool() { local page="$1"; shift; "$start" "$python" -m "supcon.commands.$page" "$@"; }

# take_tasks [options]: part them into `tasks`, which say what is done side by side, and all other `options`
take_tasks() {
  tasks=() options=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --jobs=* | --cluster=* | --task.*=*) tasks+=("$1") ;;
      --jobs | --cluster | --task.*) tasks+=("$1" ${2+"$2"}); [ $# -eq 1 ] || shift ;;
      *) options+=("$1") ;;
    esac
    shift
  done
}

# requirements [options]: install what a command needs; Ray too where something is done side by side
requirements() {
  local file=requirements.txt
  take_tasks "$@"
  [ ${#tasks[@]} -eq 0 ] || file=requirements-cluster.txt
  setup "$file"
}

# once PAGE [options]: a stage of the whole run
once() { case "$1" in tune) stage "$@" ${tasks[@]+"${tasks[@]}"} ;; *) stage "$@" ;; esac; }

# each_fold "PAGE ..." [options]: these stages of every fold, one after the other, or several folds side by side
each_fold() {
  local pages="$1" page; shift
  if [ ${#tasks[@]} -gt 0 ]; then
    "$start" "$python" -m supcon.cluster.folds "$pages" "${tasks[@]}" "$@"
  else
    for page in $pages; do stage "$page" "$@"; done
  fi
}

# checks [pytest's options]: lint, types, tests; of the tests as many at once as there are cores, up to eight
checks() {
  setup requirements-dev.txt
  cd "$here"
  "$python" -m ruff check src tests benchmarks
  "$python" -m ruff format --check src tests benchmarks
  "$python" -m mypy
  "$python" -m pytest -n auto --dist worksteal "$@"
}

[ $# -gt 0 ] || { usage; exit 0; }
command="$1"; shift
case "$command" in
  all)
    requirements "$@"
    set -- ${options[@]+"${options[@]}"}
    tool doctor --quick ${tasks[@]+"${tasks[@]}"} "$@"
    order="$("$python" -m supcon.run.stages)" # the table of stages
    while read -r how pages; do "$how" "$pages" "$@" </dev/null; done <<<"$order" ;;
  folds) setup requirements.txt; start=exec; stage make_folds "$@" ;;
  ensemble)
    requirements "$@"
    case " $* " in *" --soup "* | *" --soup="*)
      case " $* " in *" --fold "* | *" --fold="*) fail "ensemble --soup is of all folds: ./run.sh soup takes --fold" ;; esac
      each_fold "soup predict" ${options[@]+"${options[@]}"} ;;
    esac
    case " $* " in *" --runs "* | *" --soup "* | *" --soup="*)
      stage tune "$@"
      set -- ${options[@]+"${options[@]}"} ;;
    esac
    start=exec
    stage ensemble "$@" ;;
  setup) setup requirements.txt ;;
  test) checks -m "not slow" "$@" ;;
  test-all) setup requirements-cluster.txt; checks "$@" ;;
  -h | --help | help) usage ;;
  *)
    if [ -f "$here/src/$command.py" ]; then # a stage
      requirements "$@"
      start=exec
      stage "$command" "$@"
    elif [ -f "$here/src/supcon/commands/$command.py" ]; then
      requirements "$@"
      start=exec
      tool "$command" "$@"
    else
      fail "no command is called $command: ./run.sh alone lists them"
    fi ;;
esac
