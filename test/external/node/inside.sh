#!/usr/bin/env bash
# Runs a command in namespaces in which a node of Kubernetes can run. Everything that the command starts, mounts or writes disappears
# with it. Requires `.cache/podman/inside`. With `--check` alone, only says whether this machine lets a node run.
set -euo pipefail

if [[ ${1:-} != --namespaced ]]; then
  missing() { echo "a node cannot run here: $1" >&2; exit 1; }
  ((EUID == 0)) || missing 'this requires root'
  grep -qw overlay /proc/filesystems || missing 'the kernel has no overlay file system'
  [[ -d /sys/fs/cgroup/memory ]] || missing 'this requires cgroups of version 1 at /sys/fs/cgroup'
  [[ -c /dev/kmsg ]] || missing 'the kubelet requires /dev/kmsg'
  unshare --mount --net --pid --uts --ipc --cgroup --fork true 2>/dev/null || missing 'unshare may make no namespaces'
  if [[ ${1:-} == --check ]]; then exit; fi
  unshare --net bash -c 'PATH=$PWD/.cache/nftables/bin:$PATH
    ip link add name node type veth peer name other && nft add table inet a && ipset create a hash:net &&
    iptables -A FORWARD -m set --match-set a src -j REJECT' 2>/dev/null || missing 'the kernel has no veth devices, nftables or IP sets'

  # A cgroup of its own in every hierarchy, below that of this process.
  groups=()
  export NODE_FOLDER
  NODE_FOLDER=$(mktemp -d)
  cleanup() {
    trap '' INT TERM HUP
    # The processes may still be exiting.
    for group in "${groups[@]}"; do
      for _ in {1..100}; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.1
      done
    done
    rm -rf "$NODE_FOLDER"
  }
  trap cleanup EXIT
  while IFS=: read -r id controllers path; do
    folder=/sys/fs/cgroup/${controllers#name=}
    [[ $id != 0 && -d $folder ]] || continue
    group=${folder}${path%/}/$(basename "$NODE_FOLDER")
    mkdir "$group" 2>/dev/null || missing "no cgroup can be made below ${group%/*}"
    groups+=("$group")
    # A process can only enter a set of processors that has some.
    for name in cpus mems; do
      if [[ -e $group/cpuset.$name ]]; then cat "$group/../cpuset.$name" >"$group/cpuset.$name"; fi
    done
    # With the default of 1024, one process beside the node would get as much time as all of its programs together.
    if [[ -e $group/cpu.shares ]]; then echo 4096 >"$group/cpu.shares"; fi
  done </proc/self/cgroup
  printf '%s\n' "${groups[@]}" >"$NODE_FOLDER/cgroups"
  bash -c 'while read -r group; do echo $$ >"$group/cgroup.procs"; done <"$NODE_FOLDER/cgroups"
    exec unshare --mount --net --pid --uts --ipc --cgroup --fork --mount-proc --kill-child bash "$0" --namespaced "$@"' \
    "$0" "$@" &
  # With this process, all processes of its namespaces end.
  trap "kill -KILL $!" INT TERM HUP
  wait $!
  exit
fi
shift

# Below the new root of each hierarchy are only the cgroups of this node.
hierarchies=$(sed 's|^/sys/fs/cgroup/||; s|/.*||' "$NODE_FOLDER/cgroups")
umount --recursive /sys/fs/cgroup
mount -t tmpfs cgroup /sys/fs/cgroup
for name in $hierarchies; do
  mkdir "/sys/fs/cgroup/$name"
  options=$name
  if [[ $name == systemd ]]; then options=none,name=systemd; fi
  mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/$name"
done

# The kubelet mounts volumes, and shares them with containers. /var/lib/kubelet and /var/log must not be those of the machine.
mount --make-rshared /
mount -t tmpfs run /run
mkdir -p "$NODE_FOLDER"/{var,varwork}
mount -t overlay overlay -o "lowerdir=/var,upperdir=$NODE_FOLDER/var,workdir=$NODE_FOLDER/varwork" /var

# Settings of the whole machine, which the kubelet would change: it finds the values that it wants.
while read -r name value; do
  echo "$value" >"/run/${name//\//.}"
  mount --bind "/run/${name//\//.}" "/proc/sys/$name"
done <<END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END

# The kubelet counts these processors. With two, the pods of concurrent tests would wait for each other.
for folder in /sys/devices/system/{node,cpu}; do
  if [[ -d $folder ]]; then mount -t tmpfs processors "$folder"; fi
done
mkdir /sys/devices/system/cpu/cpu{0..7}

# 10.99.0.1 is the node; the others are servers outside of the cluster.
hostname node
ip link set lo up
ip link add name node type veth peer name peer
for last in 1 2 3 4 5; do ip address add "10.99.0.$last/24" dev node; done
ip link set node up
ip link set peer up
ip route add default via 10.99.0.254
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 'nameserver 10.99.0.1' >/run/resolv.conf
mount --bind /run/resolv.conf /etc/resolv.conf

export PATH=$PWD/.cache/nftables/bin:$PATH TMPDIR=$NODE_FOLDER
exec "$@"
