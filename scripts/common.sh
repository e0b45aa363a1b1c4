# shellcheck shell=bash
# Shared by the scripts of this folder and .ci/run; to be sourced.
# Everything but results goes to stderr: stdout belongs to the generated text.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# Runs a build command. On a terminal ninja's progress stays in one line; elsewhere it is dropped,
# and warnings and errors are shown everywhere.
with_build_progress() {
  "$@" 2>&1 | {
    clear=''
    while IFS= read -r line; do
      if [[ $line =~ ^\[[0-9]+/[0-9]+\]\  || $line == "-- "* ]]; then
        if [ -t 2 ]; then
          clear=$'\r\033[K'
          printf '%s%s' "$clear" "${line:0:${COLUMNS:-80}-1}" >&2
        fi
      elif [ "$line" != "ninja: no work to do." ]; then
        printf '%s%s\n' "$clear" "$line" >&2
        clear=''
      fi
    done
    printf '%s' "$clear" >&2
  }
  return "${PIPESTATUS[0]}"
}

# configure PRESET [CMAKE ARGUMENTS...]
configure() {
  local arguments=(-S "$root" --preset "$@")
  # Warnings and errors come on stderr.
  (cd "$root" && cmake "${arguments[@]}" >/dev/null) || die "cmake --preset $1 failed, see above"
}

# build PRESET [CMAKE --build ARGUMENTS...]
build() {
  with_build_progress cmake --build "$root/build/$1" "${@:2}" ||
    die "building preset $1 failed, see above"
}

# run_tests PRESET [CTEST ARGUMENTS...]: ends with "N passed, N failed, N skipped".
run_tests() {
  local build=$root/build/$1 results=$root/build/$1/test-results code=0
  rm -rf "$results"
  mkdir -p "$results"
  export DECANT_TEST_PYTHON=$root/build/venv/bin/python
  # The CUDA compiler of testing/requirements.txt, unless another one was chosen.
  local nvrtc
  for nvrtc in "$root"/build/venv/lib/python3*/site-packages/nvidia/*/lib/libnvrtc.so.[0-9]*; do
    [ -e "$nvrtc" ] && export DECANT_NVRTC=${DECANT_NVRTC:-$nvrtc}
  done
  if DECANT_TEST_MODEL=$("$root/scripts/fetch-model"); then
    export DECANT_TEST_MODEL
  else
    unset DECANT_TEST_MODEL
    say "SKIPPED: the tests of the real model, because it could not be fetched, see above"
  fi
  # Each gtest program writes the outcome of its cases, to be counted one by one. Most use one thread
  # most of the time, so as many run at once as there are cores.
  GTEST_OUTPUT=xml:$results/ ctest --test-dir "$build" --output-on-failure --timeout 900 \
    -j "$(getconf _NPROCESSORS_ONLN)" \
    --output-junit "$results/ctest.xml" "${@:2}" || code=$?
  python3 "$root/testing/count_results.py" "$results" || code=1
  return $code
}
