#!/usr/bin/env bash
# Runs a command as root on another kernel, in qemu, with this machine's files (what it writes is forgotten) and without
# any network device. Ends with the command's status; 125 if the guest ended without telling one.
#
#   run.sh KERNEL COMMAND [ARGUMENT...]      KERNEL: 6.1, 6.12; see fetch_kernel.sh
#
#   GHOSTIP_VM_ACCEL     kvm or tcg (default: kvm where it works)
#   GHOSTIP_VM_SECONDS   the most it may take (default 600)
#   GHOSTIP_VM_CPUS      default 2 with kvm, 1 without
#   GHOSTIP_VM_MEMORY    default 1G
#   GHOSTIP_VM_APPEND    more words for the kernel's command line
#
# Variables called GHOSTIP_* reach the command.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
die() {
    echo "run: $*" >&2
    exit 125
}
(($# >= 2)) || die "usage: run.sh KERNEL COMMAND [ARGUMENT...]"
kernel=$1
shift

for tool in qemu-system-x86_64 busybox; do
    command -v "$tool" >/dev/null || die "$tool is missing; tools/setup.sh installs it"
done
home=$("$here/fetch_kernel.sh" "$kernel") || exit 125
version=$(<"$home/version")

work=$(mktemp -d "${TMPDIR:-/tmp}/ghostip-vm-XXXXXX")
guest=
# shellcheck disable=SC2317 # called by the trap
end() {
    [[ -z $guest ]] || kill "$guest" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
trap 'exit 129' HUP INT TERM

# The modules that the first process needs before it sees the host's files, and those that they need.
needed_modules() {
    local module
    for module in virtio_pci 9pnet_virtio 9p overlay; do
        sed -n "s,^\(\S*/$module\.ko\):\(.*\),\1\2,p" "$home/lib/modules/$version/modules.dep"
    done | tr ' ' '\n' | sort -u
}

pack_initramfs() {
    local root=$work/initramfs modules=lib/modules/$version
    mkdir -p "$root/bin" "$root/vm" "$root/$modules"
    cp "$(command -v busybox)" "$root/bin/busybox"
    cp "$here/init" "$root/init"
    chmod 755 "$root/init"
    cp "$home/$modules"/modules.* "$root/$modules/"
    needed_modules | (cd "$home/$modules" && xargs cp --parents -t "$root/$modules")
    printf 'kernel_home=%q\n' "$home" >"$root/vm/settings"
    {
        echo "export HOME=${HOME:-/root} USER=root LANG=C.UTF-8 TERM=dumb GTEST_COLOR=no"
        echo "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        local name
        for name in ${!GHOSTIP_@}; do printf 'export %s=%q\n' "$name" "${!name}"; done
        printf 'cd %q || exit 125\n' "$PWD"
        printf '%q ' "$@"
        echo
    } >"$root/vm/command"
    (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/initrd"
}

# /dev/kvm may be there without the processor's help (KVM_PVM does that) and then runs no kernel like these.
usable_kvm() { [[ -w /dev/kvm ]] && grep -qwE 'vmx|svm' /proc/cpuinfo; }

pack_initramfs "$@"
accel=${GHOSTIP_VM_ACCEL:-}
[[ -n $accel ]] || { usable_kvm && accel=kvm || accel=tcg; }
seconds=${GHOSTIP_VM_SECONDS:-600}
# Without hardware help a second processor may still run an instruction that the first has patched away: Linux 6.12 then
# oopsed ("int3") where netfilter's hooks are switched on. One is no slower here.
cpus=1
[[ $accel != kvm ]] || cpus=2

# An oops ends the guest without its last word, which is a failure: panic at once, reboot at once, and no reboot. On a
# busy machine without hardware help, the kernel's check of its timer can fail for being late. Conntrack's table is as
# large as in test/uml/run.sh, whatever the memory.
# shellcheck disable=SC2054 # qemu's options have commas in them
qemu=(
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot
    -machine q35 -accel "$accel" -cpu max -smp "${GHOSTIP_VM_CPUS:-$cpus}" -m "${GHOSTIP_VM_MEMORY:-1G}" -nic none
    -kernel "$home/vmlinuz" -initrd "$work/initrd"
    -append "console=ttyS0 quiet no_timer_check oops=panic panic=-1 nf_conntrack.hashsize=16384 ${GHOSTIP_VM_APPEND:-}"
    -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=0x04
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap
    -device virtio-9p-pci,fsdev=host,mount_tag=host
)
mkfifo "$work/serial"
sed -u 's/\r$//' <"$work/serial" | tee "$work/console" &
printer=$!
# In the background, so that this script still hears a signal; `timeout` hands it on.
timeout --kill-after=10 "$seconds" "${qemu[@]}" </dev/null >"$work/serial" 2>"$work/qemu" &
guest=$!
status=0
wait "$guest" || status=$?
guest=
wait "$printer" || true

said=$(sed -n 's/^.*vm: ended with \([0-9]*\)$/\1/p' "$work/console" | tail -n 1)
if [[ -z $said || $status -ne $((2 * said + 1)) ]]; then
    echo "run: Linux $version ($accel) did not come to its end: qemu ended with $status, the guest said '${said}'" >&2
    ((status != 124)) || echo "run: stopped after $seconds s" >&2
    echo "run: qemu: $(<"$work/qemu")" >&2
    echo "run: the console's last lines:" >&2
    tail -n 20 "$work/console" | sed 's/^/    /' >&2
    exit 125
fi
exit "$said"
