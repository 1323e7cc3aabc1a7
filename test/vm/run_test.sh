#!/usr/bin/env bash
# Does run.sh tell the truth? A test that cannot fail would show nothing: what a guest says must come out as it was said,
# and a guest that says nothing must count as failed.
#
#   run_test.sh [KERNEL]
set -uo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
kernel=${1:-6.1}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

fail() {
    echo "FAIL $*"
    failed=$((failed + 1))
}

# guest NAME STATUS SECONDS SCRIPT: the script as the guest's command; what it says is then in $log.
guest() {
    local name=$1 status=$2 got=0
    GHOSTIP_VM_SECONDS=$3 "$here/run.sh" "$kernel" bash -c "$4" >"$log" 2>&1 || got=$?
    if ((got != status)); then
        fail "$name: status $got instead of $status"
        sed 's/^/    /' "$log"
    else
        echo "ok   $name"
    fi
}

# says NAME PATTERN: a line of the last guest.
says() {
    if grep -qx -- "$2" "$log"; then echo "ok   $1"; else fail "$1: no line '$2' among:
$(sed 's/^/    /' "$log")"; fi
}

marker=$PWD/ghostip-vm-was-here
guest "the command's status comes out" 37 300 "
    uname -r
    echo 'two  words \$HOME'
    echo devices: \$(ls /sys/class/net)
    echo written >'$marker' && cat '$marker'
    nft 'add table t; add chain t c { type nat hook output priority 0; }' && ip link add type veth && echo loaded
    printf 'no end of line'
    exit 37"
says "it is the kernel asked for" "$kernel\..*"
says "words arrive as they were given" 'two  words $HOME'
says "there is no device but loopback" "devices: lo"
says "the guest can write everywhere" "written"
if [[ -e $marker ]]; then fail "the guest wrote to the host"; else echo "ok   what is written is forgotten"; fi
says "the kernel loads modules by itself" "loaded"

guest "a kernel that panics has failed" 125 300 'echo c >/proc/sysrq-trigger; sleep 60'
guest "a guest that only claims its end has failed" 125 300 'echo "vm: ended with 0"; echo o >/proc/sysrq-trigger; sleep 60'
guest "a guest that falls silent has failed" 125 20 'echo last words; sleep 600'
says "that it was stopped is told" "run: stopped after 20 s"
says "its last words are told" " *last words"

((failed == 0)) || echo "$failed failed"
exit "$((failed > 0))"
