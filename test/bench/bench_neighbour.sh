#!/usr/bin/env bash
# What other programs pay for our being there: while 10,000 Services with 5 endpoints each are loaded and changed all the
# time, another program's `nft -f` and `iptables-nft-restore` of 5,000 rules are timed, against their time alone.
#
#   bench_neighbour.sh GHOSTIP [--quick]        needs root, nft, iptables, python3
#
# Alone means: the proxy and whoever changes its world are stopped (SIGSTOP), and the rules go into a network namespace
# that holds nothing else. The three are taken in turn, round after round, so that a slow minute of the machine slows
# all of them; the medians and their ratios are printed. All in namespaces of its own.
set -euo pipefail
binary=$(realpath "${1:?usage: bench_neighbour.sh GHOSTIP [--quick]}")
services=10000 rules=5000 rounds=9
[[ ${2:-} == --quick ]] && services=1000 rules=500 rounds=3

if [[ ${GHOSTIP_BENCH_INSIDE:-} != 1 ]]; then
    GHOSTIP_BENCH_INSIDE=1 exec unshare --net --pid --fork --kill-child --mount-proc "$0" "$binary" "${@:2}"
fi

folder=$(mktemp -d --tmpdir ghostip-bench-XXXXXX)
started=()
clean_up() {
    ((${#started[@]} == 0)) || kill -KILL "${started[@]}" 2>/dev/null || true
    wait 2>/dev/null
    rm -rf "$folder"
}
trap clean_up EXIT
ip link set lo up

# A world in files of 100 Services, so that one that changes is read quickly. `write_world.py FILE GENERATION`.
cat >"$folder/world.py" <<'PYTHON'
import json, os, random, sys
folder, number, generation = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(number * 1000003 + generation)
items = []
for service in range(number * 100, number * 100 + 100):
    ip = f"10.{96 + service // 65536}.{service // 256 % 256}.{service % 256}"
    items.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"svc-{service}", "namespace": "bench"},
                  "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"],
                           "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}})
    endpoints = [{"addresses": [f"172.{random.randrange(16, 32)}.{random.randrange(256)}.{random.randrange(256)}"],
                  "conditions": {"ready": True}, "nodeName": f"node-{n}"} for n in range(5)]
    items.append({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                  "metadata": {"name": f"svc-{service}-1", "namespace": "bench",
                               "labels": {"kubernetes.io/service-name": f"svc-{service}"}},
                  "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                  "endpoints": endpoints})
path = f"{folder}/manifests/{number}.json"
with open(f"{folder}/{number}.next", "w") as file:
    json.dump({"apiVersion": "v1", "kind": "List", "items": items}, file)
os.rename(f"{folder}/{number}.next", path)
PYTHON
# Changes a file of the world every 10 ms, so the proxy always has something to commit. Texts are made beforehand: this
# one is not to take the processor from those that are timed.
cat >"$folder/change.py" <<'PYTHON'
import os, random, sys, time
folder, files = sys.argv[1], int(sys.argv[2])
texts = [open(f"{folder}/manifests/{n}.json").read() for n in range(files)]
pieces = {n: texts[n].split('"addresses": ["172.') for n in range(min(files, 8))}
round_ = 0
while True:
    n = round_ % len(pieces)
    parts = list(pieces[n])
    # One Service's five endpoints anew.
    first = 1 + random.randrange((len(parts) - 1) // 5) * 5
    for i in range(first, first + 5):
        rest = parts[i].split('"', 1)[1]
        parts[i] = f'{random.randrange(16, 32)}.{random.randrange(256)}.{random.randrange(256)}"{rest}'
    pieces[n] = parts
    with open(f"{folder}/next", "w") as file:
        file.write('"addresses": ["172.'.join(parts))
    os.rename(f"{folder}/next", f"{folder}/manifests/{n}.json")
    round_ += 1
    time.sleep(0.01)
PYTHON
mkdir "$folder/manifests"
files=$((services / 100))
for ((n = 0; n < files; n++)); do python3 "$folder/world.py" "$folder" "$n" 0; done

# The other program's rules: a chain each time anew, replaced as a whole.
{
    printf 'add table ip other\ndelete table ip other\n'
    printf 'table ip other {\nchain rules {\n'
    for ((n = 0; n < rules; n++)); do
        echo "ip saddr 10.$((n / 65536 % 256)).$((n / 256 % 256)).$((n % 256)) tcp dport $((n % 60000 + 1)) accept"
    done
    printf '}\n}\n'
} >"$folder/rules.nft"
{
    echo "*filter"
    echo ":OTHER - [0:0]"
    for ((n = 0; n < rules; n++)); do
        echo "-A OTHER -s 10.$((n / 65536 % 256)).$((n / 256 % 256)).$((n % 256)) -p tcp --dport $((n % 60000 + 1)) -j ACCEPT"
    done
    echo "COMMIT"
} >"$folder/rules.iptables"

"$binary" proxy --manifests "$folder/manifests" --hostname-override node-0 --cluster-cidr 172.16.0.0/12 \
    --healthz-bind-address 127.0.0.1:10256 2>"$folder/log" &
proxy=$!
started+=("$proxy")
for ((i = 0; i < 600; i++)); do
    python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:10256/readyz")' 2>/dev/null && break
    sleep 0.1
done
python3 "$folder/change.py" "$folder" "$files" &
changer=$!
started+=("$changer")
unshare --net sleep infinity &
empty=$!
started+=("$empty")
sleep 1

# How often nf_tables' rules were replaced in this namespace, by anybody (NFT_MSG_GETGEN, attribute NFTA_GEN_ID).
cat >"$folder/generation.py" <<'PYTHON'
import socket, struct
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
netlink.settimeout(5)
netlink.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0))
print(struct.unpack(">I", netlink.recv(4096)[24:28])[0])
PYTHON
generation() { python3 "$folder/generation.py"; }
# Milliseconds that a command takes; a program that has not ended in a minute has lost.
timed() {
    local begin end
    begin=$(date +%s%N)
    timeout 60 "$@" >/dev/null 2>"$folder/error" || {
        cat "$folder/error" >&2
        echo 60000
        return
    }
    end=$(date +%s%N)
    echo $(((end - begin) / 1000))e-3
}
nft_rules=(nft -f "$folder/rules.nft")
iptables_rules=(iptables-nft-restore --noflush "$folder/rules.iptables")
empty_space=(nsenter --net --target "$empty")
before=$(generation)
for ((round = 0; round < rounds; round++)); do
    for program in nft_rules iptables_rules; do
        declare -n command=$program
        echo "$program changing $(timed nsenter --net --target $$ "${command[@]}")"
        kill -STOP "$changer"
        sleep 0.1
        echo "$program loaded $(timed nsenter --net --target $$ "${command[@]}")"
        kill -STOP "$proxy"
        echo "$program alone $(timed "${empty_space[@]}" "${command[@]}")"
        kill -CONT "$proxy" "$changer"
        sleep 0.3
    done
done >"$folder/times"
# Theirs, which are one commit each, are taken out.
after=$(generation)
((after - before > 5 * rounds)) || { echo "bench_neighbour: the proxy changed nothing meanwhile" >&2; cat "$folder/log" >&2; exit 1; }
python3 - "$folder/times" "$services" "$rules" "$rounds" "$((after - before - 4 * rounds))" <<'PYTHON'
import statistics, sys
path, services, rules, rounds, commits = sys.argv[1:]
times = {}
for line in open(path):
    program, state, milliseconds = line.split()
    times.setdefault((program, state), []).append(float(milliseconds))
print(f"{services} Services of 5 endpoints; {rules} foreign rules; {rounds} rounds; {commits} commits of ours meanwhile")
print("program | alone ms | loaded ms | changing ms | worst changing ms | loaded / alone | changing / alone")
print("---|---|---|---|---|---|---")
for program, name in (("nft_rules", "nft -f"), ("iptables_rules", "iptables-nft-restore")):
    alone, loaded, changing = (statistics.median(times[program, s]) for s in ("alone", "loaded", "changing"))
    worst = max(times[program, "changing"])
    print(f"{name} | {alone:.0f} | {loaded:.0f} | {changing:.0f} | {worst:.0f} | {loaded / alone:.2f} | {changing / alone:.2f}")
PYTHON
