#!/usr/bin/env bash
# Runs a command as root on Debian's user-mode Linux: a kernel that is a process of this machine, with no more rights
# here than the caller has. The command sees this machine's files (what it writes is forgotten) and no network device but
# loopback. Ends with the command's status; 125 if the guest ended without telling one.
#
#   run.sh COMMAND [ARGUMENT...]
#
#   GHOSTIP_UML_SECONDS   the most it may take (default 300)
#   GHOSTIP_UML_MEMORY    default 1G
#   GHOSTIP_UML_APPEND    more words for the kernel's command line
#
# Variables called GHOSTIP_* reach the command.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
die() {
    echo "run: $*" >&2
    exit 125
}
(($# >= 1)) || die "usage: run.sh COMMAND [ARGUMENT...]"
for tool in linux.uml busybox; do
    command -v "$tool" >/dev/null || die "$tool is missing; tools/setup.sh installs it"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/ghostip-uml-XXXXXX")
guest=
# The kernel is several processes, in a session of their own. Told to end, it takes the others along; killed, it leaves
# them.
# shellcheck disable=SC2317 # called by the trap
end() {
    local leader
    [[ -z $guest ]] || kill "$guest" 2>/dev/null || true
    if [[ -s $work/id/guest/pid ]]; then
        leader=$(<"$work/id/guest/pid")
        for _ in {1..20}; do
            kill -0 -- "-$leader" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$leader" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap end EXIT
trap 'exit 129' HUP INT TERM

mkdir "$work/in" "$work/out" "$work/id"
cp "$here/init" "$work/init"
chmod 755 "$work/init"
{
    echo "export HOME=${HOME:-/root} USER=root LANG=C.UTF-8 TERM=dumb GTEST_COLOR=no"
    echo "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for name in ${!GHOSTIP_@}; do printf 'export %s=%q\n' "$name" "${!name}"; done
    printf 'cd %q || exit 125\n' "$PWD"
    printf '%q ' "$@"
    echo
} >"$work/command"

seconds=${GHOSTIP_UML_SECONDS:-300}
# An oops ends the guest without a status, which is a failure: panic at once, and no reboot. What the kernel says goes to
# a file, what the command says through a pipe: a terminal of the kernel's is made non-blocking, and so must not be what
# the caller gave us.
# Conntrack's table has room for 131,072 connections, the least that a node's agent asks for: of so little memory the
# kernel would make 8,192, and then drop packets of a test with more connections than that in two minutes.
# shellcheck disable=SC2054 # the kernel's options have commas in them
uml=(
    linux.uml "mem=${GHOSTIP_UML_MEMORY:-1G}" quiet oops=panic panic=-1
    "uml_dir=$work/id/" umid=guest
    rootfstype=hostfs rootflags=/ ro "init=$work/init"
    con=null con0=null,fd:1 con1=null,fd:3
    nf_conntrack.hashsize=16384
)
# shellcheck disable=SC2206 # words
uml+=(${GHOSTIP_UML_APPEND:-} -- "$work")
mkfifo "$work/said"
tee "$work/output" <"$work/said" &
printer=$!
# In the background, so that this script still hears a signal; `timeout` hands it on.
timeout --kill-after=10 "$seconds" "${uml[@]}" </dev/null >"$work/console" 2>&1 3>"$work/said" &
guest=$!
status=0
wait "$guest" || status=$?
guest=
wait "$printer" || true

said=
[[ ! -s $work/out/status ]] || said=$(<"$work/out/status")
if [[ $status -ne 0 || ! $said =~ ^[0-9]+$ ]]; then
    echo "run: user-mode Linux did not come to its end: it ended with $status, the guest said '$said'" >&2
    ((status != 124)) || echo "run: stopped after $seconds s" >&2
    echo "run: the console's last lines:" >&2
    tail -n 20 "$work/console" | sed 's/^/    /' >&2
    exit 125
fi
exit "$said"
