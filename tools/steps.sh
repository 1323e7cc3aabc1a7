# Sourced by test.sh and test-long.sh, after env.sh: runs named steps, stops at the first that fails, and prints
# `N passed, N failed` as the very last line whatever happens.
passed=0
failed=0
current_step=
ctest_prefix=()
mkdir -p build

finish() {
    local status=$?
    trap - EXIT
    if ((status != 0)); then
        # Interrupted, or a step that holds no tests of its own (a build).
        ((failed > 0)) || failed=1
        printf '\nFAILED at step: %s\n' "${current_step:-start}" >&2
    fi
    printf '%d passed, %d failed\n' "$passed" "$failed"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

heading() {
    current_step=$1
    printf '\n==== %s\n' "$1"
}

# step NAME COMMAND...: not counted unless it fails.
step() {
    heading "$1"
    shift
    "$@"
}

# counted_step NAME COMMAND...: one test.
counted_step() {
    heading "$1"
    shift
    local status=0
    # Not `"$@" || status=$?`: that would switch errexit off inside a function.
    set +e
    (set -e; "$@")
    status=$?
    set -e
    if ((status != 0)); then
        failed=$((failed + 1))
        exit "$status"
    fi
    passed=$((passed + 1))
}

# ctest_step NAME PRESET ctest argument...: counts what ctest ran. Skipped counts as failed.
ctest_step() {
    heading "$1"
    local preset=$2 report status=0 counts
    shift 2
    report=$PWD/build/ctest-$preset.xml
    rm -f "$report"
    "${ctest_prefix[@]}" ctest --preset "$preset" --no-tests=error --output-junit "$report" \
        --test-output-size-passed 4194304 --test-output-size-failed 4194304 "$@" || status=$?
    if counts=$(python3 tools/count_tests.py "$report"); then
        passed=$((passed + ${counts% *}))
        failed=$((failed + ${counts#* }))
        ((${counts#* } == 0)) || status=1
    else
        status=1
    fi
    ((status == 0)) || exit 1
}
