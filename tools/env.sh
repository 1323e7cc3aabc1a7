# Sourced by the scripts beside it: goes to the root of the project and sets what all builds share.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

JOBS="${JOBS:-$(nproc)}"

# Objects are cached by content, so that a second clone elsewhere on the machine finds them too. The folder of the cache
# is ccache's own default unless CCACHE_DIR says otherwise.
export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$PWD}"
export CCACHE_NOHASHDIR=1

# configure_and_build PRESET [cmake build argument...]
configure_and_build() {
    local preset=$1
    shift
    # A configured folder notices changes of its CMake files by itself.
    [[ -f build/$preset/build.ninja ]] || cmake --preset "$preset" -Wno-dev
    cmake --build --preset "$preset" -j "$JOBS" "$@"
}

# The C++ files that belong to the project: tracked, or new and not ignored.
cpp_files() {
    git -c safe.directory='*' ls-files -z --cached --others --exclude-standard --deduplicate \
        -- '*.cpp' '*.h' '*.c' '*.cc' | while IFS= read -r -d '' file; do
        [[ -f $file ]] && printf '%s\0' "$file"
    done
}
