#!/usr/bin/env bash
# Everything that has to be shown on a GPU, in one go: the tests of all ops on the device against
# their references, compute-sanitizer on a part of them, attention beside kernels that only read the
# same bytes, prompt and generation. Writes report.json and report.md, and one log a step.
#
#   bench/gpu.sh                        builds the release preset; a random Gemma 3 270M from a seed
#   bench/gpu.sh --build DIR            uses what was built in DIR (on a machine without compilers)
#   bench/gpu.sh --model FILE           measures this GGUF file instead of a random model
#   bench/gpu.sh --device cuda:1 --out DIR       another GPU; another folder than build/gpu
#   bench/gpu.sh --only tests,attention          of: tests sanitizer attention model
#
# Needs NVIDIA's driver, NVRTC (of CUDA's toolkit or its PyPI package, see decant/cuda/README.md)
# and python3; for its step, compute-sanitizer of the toolkit. Ends with status 1 if a step failed;
# a step that could not be made is in the report as skipped, with the reason.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

build='' model='' out=$root/build/gpu device=cuda:0 only=tests,sanitizer,attention,model
while [ $# != 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --build | --model | --out | --device | --only)
      [ $# -ge 2 ] || die "gpu.sh: $1 wants a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    *) die "gpu.sh: unknown argument $1, see --help" ;;
  esac
done
wanted() { [[ ,$only, == *,$1,* ]]; }

command -v python3 >/dev/null || die "gpu.sh: python3 is missing"
if [ -z "$build" ]; then
  "$root/scripts/setup"
  configure release
  build release
  build=$root/build/release
fi
decant=$build/decant
[ -x "$decant" ] || die "gpu.sh: there is no $decant; build first, or name the folder with --build"
[ -z "$model" ] || [ -r "$model" ] || die "gpu.sh: $model cannot be read"

rm -rf "$out"
mkdir -p "$out"
# step NAME STATUS SECONDS NOTE: a line of steps.tsv, from which the report is made.
step() {
  printf '%s\t%s\t%s\t%s\n' "$@" >>"$out/steps.tsv"
  printf '%-44s %-8s %4s s  %s\n' "$@" >&2
}

"$decant" devices -o json >"$out/devices.json" 2>"$out/devices.log"
grep -q '"cuda:' "$out/devices.json" || die "gpu.sh: no GPU: $(cat "$out/devices.log")"
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv \
  >"$out/nvidia-smi.txt" 2>&1 || true
# Tests run on the first visible GPU.
ordinal=${device#cuda}
tests_on=${ordinal#:}
export GTEST_BRIEF=1

# What a test said of kernels that the GPU does not have; targets of other CPUs are no matter.
skips() { grep -o 'SKIPPED: .*cuda.*' "$1" | sort -u | head -n 3 | tr '\n\t' '; ' || true; }

run_test() {  # run_test STEP SECONDS COMMAND...
  local name=$1 limit=$2 log=$out/${1//[^a-z_0-9]/-}.log start=$SECONDS code=0
  shift 2
  CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-${tests_on:-0}} timeout "$limit" "$@" \
    >"$log" 2>&1 || code=$?
  case $code in
    0) step "$name" passed $((SECONDS - start)) "$(skips "$log")" ;;
    124) step "$name" FAILED $((SECONDS - start)) "not done after $limit s" ;;
    *) step "$name" FAILED $((SECONDS - start)) "status $code, see $(basename "$log")" ;;
  esac
}

if wanted tests; then
  run_test test_cuda_cuda_device 300 "$build/test_cuda_cuda_device"
  for program in "$build"/test_ops_*; do
    [[ $program = *_cuda ]] && continue  # plans, with a fake driver; needs no GPU
    [ -x "$program" ] && run_test "$(basename "$program")" 600 "$program"
  done
fi

if wanted sanitizer; then
  sanitizer=$(command -v compute-sanitizer || ls "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" \
    2>/dev/null || true)
  if [ -z "$sanitizer" ]; then
    step sanitizer skipped 0 "compute-sanitizer is not installed"
  else
    # Without the tests that run out of memory and crash on purpose. That the driver refuses a call
    # is no error: the number of a kernel's parameters is found by asking for one too many.
    for name in cuda_cuda_device ops_advance ops_gelu_mul ops_rms_norm ops_qk_norm_rope \
      ops_kv_append ops_argmax ops_top_k ops_flash_attn_vec ops_flash_attn_vec_nonfinite ops_mat_mul \
      ops_norm_mat_vec ops_attention_step; do
      program=$build/test_$name
      [ -x "$program" ] || continue
      without='*ACrash*:*OutOfMemory*:*ThreadCount*'
      # Thousands of cases, which the sanitizer slows down a hundredfold.
      case $name in
        ops_flash_attn_vec | ops_mat_mul | ops_norm_mat_vec | ops_attention_step) without+=':*MatchesReference*' ;;
      esac
      run_test "memcheck $name" 300 "$sanitizer" --tool memcheck --leak-check full \
        --report-api-errors no --error-exitcode 9 \
        "$program" --gtest_filter="-$without"
      [ "$name" = cuda_cuda_device ] && continue
      run_test "racecheck $name" 300 "$sanitizer" --tool racecheck --error-exitcode 9 \
        "$program" --gtest_filter="-$without"
    done
  fi
fi

# measure STEP FILE COMMAND...: its standard output is JSON for the report.
measure() {
  local name=$1 file=$2 start=$SECONDS
  shift 2
  if "$@" >"$out/$file" 2>"$out/$file.log"; then
    printf '%s\n' "$*" >"$out/$file.command"
    step "$name" passed $((SECONDS - start)) ""
  else
    rm -f "$out/$file"
    step "$name" FAILED $((SECONDS - start)) "$(tail -n 1 "$out/$file.log" | tr '\t' ' ')"
  fi
}

if wanted attention; then
  shapes=()
  for shape in 256,4,1,512 256,8,4,512 256,16,8,512 256,4,1,4096 256,16,8,4096 256,4,1,32768 \
    256,16,2,32768 256,4,1,131072 128,32,8,32768 256,16,8,32768 256,16,8,131072; do
    shapes+=(--shape "$shape")
  done
  measure attention attention.json "$decant" bench-op flash_attn_vec --device "$device" \
    --seconds 0.3 -o json "${shapes[@]}"
fi

if wanted model; then
  if [ -z "$model" ]; then
    model=$out/random.gguf
    "$decant" synth-model -o "$model" --seed 1 2>"$out/synth-model.log"
    step "logits and tokens beside the CPU's" skipped 0 "random weights amplify rounding; give --model"
  else
    # Of 600 tokens, prompt and decoding: logits within 1e-3 of the CPU's, and the same best token
    # wherever the margin is larger than that.
    DECANT_TEST_MODEL=$model run_test "logits and tokens beside the CPU's" 600 \
      "$build/test_models_gemma3_real_model" --gtest_filter='*CudaAgreesWithTheCpu'
  fi
  measure "prompt and generation" model.json "$decant" bench -m "$model" --device "$device" \
    -p 512 -n 128 -d 0,4096,16384,32000 -o json
  # Two runs of one seed give one text.
  for run in 1 2; do
    measure "generate, run $run" "generate$run.json" "$decant" generate -m "$model" --device \
      "$device" -p "The history of the printing press begins with" -n 64 --seed 1 --json
  done
  if [ -s "$out/generate1.json" ] && [ -s "$out/generate2.json" ]; then
    python3 -c 'import json, sys
a, b = (json.load(open(path))["tokens"] for path in sys.argv[1:])
sys.exit(a != b)' "$out"/generate[12].json && status=passed || status=FAILED
    step "both runs give the same tokens" "$status" 0 ""
  fi
fi

python3 "$root/bench/gpu_report.py" "$out"
say "$out/report.md, $out/report.json"
! grep -q "$(printf '\tFAILED\t')" "$out/steps.tsv"
