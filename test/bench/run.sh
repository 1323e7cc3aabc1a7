#!/usr/bin/env bash
# Everything that is measured, on this machine, in one run. Usage: run.sh BUILD-FOLDER [--quick]. Needs root, nft, ip and
# python3. A whole run also draws docs/benchmarks.svg and docs/modes.svg; a quick one draws into the build folder. Figures never fail it.
set -euo pipefail
build=${1:?usage: run.sh BUILD-FOLDER [--quick]}
here=$(dirname "${BASH_SOURCE[0]}")
quick=("${@:2}")
picture=$here/../../docs/benchmarks.svg
modes_picture=$here/../../docs/modes.svg
((${#quick[@]} == 0)) || picture=$build/benchmarks.svg
((${#quick[@]} == 0)) || modes_picture=$build/modes.svg
fewer_entries=()
((${#quick[@]} == 0)) || fewer_entries=(20000)
fewer_services=()
((${#quick[@]} == 0)) || fewer_services=(1000)

echo "$(nproc) processors, kernel $(uname -r), $(nft --version), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
headline() { printf '\n## %s\n\n' "$1"; }
headline "A node's Services"
"$build/bin/bench_sync" "$build/bin/ghostip" --results "$build/benchmarks.csv" "${quick[@]}"
python3 "$here/plot.py" "$build/benchmarks.csv" "$picture"
headline "Modes"
"$build/bin/bench_modes" "$build/bin/ghostip" --results "$build/modes.csv" "${quick[@]}"
python3 "$here/plot_modes.py" "$build/modes.csv" "$modes_picture"
headline "A cluster's API server"
"$build/bin/bench_cluster" "$build/bin/ghostip" "${quick[@]}"
headline "Connections"
"$build/bin/bench_connect" "$build/bin/ghostip" "${quick[@]}"
headline "The relay"
"$build/bin/bench_relay" "$build/bin/ghostip" "${quick[@]}"
headline "Other programs' rules"
"$here/bench_neighbour.sh" "$build/bin/ghostip" "${quick[@]}"
headline "Removing UDP flows"
"$build/bin/bench_conntrack" "${fewer_entries[@]}"
headline "Reading manifests"
"$build/bin/bench_codec" "${fewer_services[@]}"
