#!/usr/bin/env bash
# Does run.sh tell the truth? A test that cannot fail would show nothing: what a guest says must come out as it was said,
# a guest that says nothing must count as failed, and nothing of it may stay.
set -uo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

ok() { echo "ok   $1"; }
fail() {
    echo "FAIL $*"
    sed 's/^/    /' "$log" | tail -n 30
    failed=$((failed + 1))
}

# guest NAME STATUS SECONDS SCRIPT: the script as the guest's command; what it says is then in $log.
guest() {
    local name=$1 status=$2 got=0
    GHOSTIP_UML_SECONDS=$3 "$here/run.sh" bash -c "$4" >"$log" 2>&1 || got=$?
    if ((got == status)); then ok "$name"; else fail "$name: status $got instead of $status"; fi
}

# says NAME PATTERN: a line of the last guest.
says() {
    if grep -qx -- "$2" "$log"; then ok "$1"; else fail "$1: no line '$2'"; fi
}

# The guests of this test, by the mark that each has on its command line.
export GHOSTIP_UML_APPEND=harness.mark=$$
running() { grep -lsz "^harness.mark=$$\$" /proc/[0-9]*/cmdline | wc -l; }
folders() { find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'ghostip-uml-*' | sort; }
before=$(folders)

marker=$PWD/ghostip-uml-was-here
guest "the command's status comes out" 37 60 "
    uname -r
    id -u
    echo 'two  words \$HOME'
    echo devices: \$(ls /sys/class/net)
    echo written >'$marker' && cat '$marker'
    ip link add type veth && ip link add type dummy && iptables-legacy -t nat -S >/dev/null && echo loaded
    printf 'no end of line'
    exit 37"
says "it is Debian 12's kernel" "6\.1\..*"
says "the command is root" 0
# shellcheck disable=SC2016 # the words, not the folder
says "words arrive as they were given" 'two  words $HOME'
says "there is no device but loopback" "devices: lo"
says "the guest can write everywhere" written
says "the kernel loads modules by itself" loaded
if [[ -e $marker ]]; then fail "the guest wrote to the host"; else ok "what is written is forgotten"; fi
if [[ $(tail -c 14 "$log") == "no end of line" ]]; then ok "no byte is added"; else fail "the last line differs"; fi

guest "much output" 0 60 'seq 200000; exit 0'
if [[ $(seq 200000 | cksum) == $(cksum <"$log") ]]; then ok "comes out whole"; else fail "much output differs"; fi

guest "success comes out too" 0 60 'modprobe ip_vs && ipvsadm -Ln | grep -q ^Prot'
guest "a command that is not there" 127 60 'no-such-command'
guest "a kernel that panics has failed" 125 60 'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60'
guest "a guest that only goes off has failed" 125 60 'echo 0; busybox poweroff -f; sleep 60'
guest "a guest that falls silent has failed" 125 8 'echo last words; sleep 600'
says "that it was stopped is told" "run: stopped after 8 s"
says "its last words are told" "last words"

# A caller that is told to end takes the guest along.
"$here/run.sh" sleep 600 >"$log" 2>&1 &
caller=$!
for _ in {1..100}; do
    (($(running) > 3)) && break
    sleep 0.1
done
(($(running) > 3)) || fail "no guest has started"
kill "$caller"
wait "$caller"
for _ in {1..50}; do
    (($(running) == 0)) && break
    sleep 0.1
done
if (($(running) == 0)); then ok "no process is left"; else fail "$(running) processes are left"; fi
if [[ $(folders) == "$before" ]]; then ok "no folder is left"; else fail "folders are left: $(folders)"; fi

# No user of this machine has more rights outside than without the guest.
if ((EUID == 0)) && [[ -r $here ]]; then
    got=0
    TMPDIR=/tmp setpriv --reuid 65534 --regid 65534 --clear-groups "$here/run.sh" \
        bash -c 'id -u; cat /etc/shadow >/dev/null && exit 1; ip link add type veth && modprobe ip_vs && exit 5' \
        >"$log" 2>&1 || got=$?
    if ((got == 5)); then ok "nobody can run one"; else fail "run by nobody: status $got"; fi
fi

((failed == 0)) || echo "$failed failed"
exit "$((failed > 0))"
