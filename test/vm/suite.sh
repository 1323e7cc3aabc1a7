#!/usr/bin/env bash
# What is asked of a kernel: run inside a guest by run.sh. Goes on after a failure; its status is the number of programs
# that failed.
#
#   suite.sh BIN CASES SHARE [FROM]
#
#   BIN     the folder of the test programs and of ghostip
#   CASES   the packet cases
#   SHARE   short: what stands for the rest when there is no hardware help; full: everything
#   FROM    which packet cases a short run takes, so that two kernels can share them out
set -uo pipefail

bin=$1
cases=$2
share=$3
from=${4:-0}
failed=0

ask() {
    local start=$EPOCHREALTIME status=0
    echo "==== $*"
    "$@" || status=$?
    local took=$((${EPOCHREALTIME/./} - ${start/./}))
    printf -- '---- %s: status %d, %d.%d s\n' "$(basename "$1")" "$status" $((took / 1000000)) $((took / 100000 % 10))
    ((status == 0)) || failed=$((failed + 1))
}
# What test/kernel asks the kernel directly; without the tests whose names match a pattern.
kernel_tests() {
    local name
    for name in netlink watch conntrack route route_localnet; do ask "$bin/${name}_test" --gtest_filter="-${1:-}"; done
}
# Those that write most: minutes each without hardware help, and the machine's own kernel is asked all of it.
big_writes='*WhatOthersPutThereGoes*:*AnOlderTableBecomesANewOne*:*CountersComeAndGo*:*AFlood*'
packet_cases() {
    local mode=$1
    shift
    # What asks for a table of iptables-legacy must find these; a host's own modprobe wants an index that is not made here.
    [[ $mode != iptables-legacy ]] || { busybox modprobe ip_tables && busybox modprobe ip6_tables; }
    ask "$bin/packet_cases" --binary "$bin/ghostip" --mode "$mode" --cases "$cases" "$@"
}

# The kernel tests come first, while hardly a module is loaded: it has to load what ghostip needs.
case $share in
    short)
        kernel_tests "$big_writes"
        packet_cases nftables --every 9 --from "$from"
        packet_cases nftables --every 11 --from "$from" --live
        packet_cases iptables-nft --every 29 --from "$from"
        packet_cases iptables-legacy --every 29 --from "$((from + 5))"
        ask "$bin/plan_against_packets" --mode nftables --flows 1500 --seconds 60 --seed "$((from + 1))"
        ask "$bin/plan_against_packets" --mode iptables-nft --flows 500 --seconds 40 --seed "$((from + 1))"
        ;;
    full)
        kernel_tests
        for mode in nftables iptables-nft iptables-legacy; do packet_cases "$mode"; done
        packet_cases ipvs-nft
        packet_cases nftables --live
        packet_cases userspace --live --every 5
        ask "$bin/mode_change_test"
        ask "$bin/testnet_test"
        ask "$bin/marks_test"
        ask "$bin/spread_test"
        ask "$bin/listing_test"
        for mode in nftables iptables-nft iptables-legacy; do
            ask "$bin/plan_against_packets" --mode "$mode" --flows 3000 --seconds 300
        done
        ;;
    *)
        echo "suite: SHARE is short or full" >&2
        exit 2
        ;;
esac
echo "suite: $failed programs failed on Linux $(uname -r)"
exit "$failed"
