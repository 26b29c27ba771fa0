#!/usr/bin/env bash
# Unpacks Debian's podman, runc and mmdebstrap into .cache, with their own image store. Does not install them on the machine.
# `.cache/podman/inside COMMAND` runs a command with them in its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/.cache/podman

if [[ -e $folder/.installed ]]; then exit 0; fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo 'podman requires root and apt: run this as root on Debian' >&2
  exit 1
fi
rm -rf "$folder"
mkdir -p "$folder"/{archives/partial,root/etc,root/usr,work/etc,work/usr}
bash test/external/apt-update.sh
# apt's locks are unnecessary, because this only downloads into its own folder.
apt-get -qq --yes --download-only --no-install-recommends -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
  -o Dir::Cache::archives="$folder/archives" install podman runc mmdebstrap
for package in "$folder"/archives/*.deb; do dpkg-deb --extract "$package" "$folder/root"; done
rm -r "$folder/archives"

# Without systemd there is no journal and no cgroup slice.
cat >"$folder/containers.conf" <<END
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "$folder/run/libpod"
runtime = "runc"
END
cat >"$folder/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$folder/store"
runroot = "$folder/run"
END
cat >"$folder/inside" <<END
#!/usr/bin/env bash
# Runs in a new mount namespace, which disappears with the command and with podman's mounts.
set -euo pipefail
if [[ \${1:-} != --mounted ]]; then exec unshare --mount "\$0" --mounted "\$@"; fi
for part in etc usr; do
  mount -t overlay overlay -o "lowerdir=/\$part,upperdir=$folder/root/\$part,workdir=$folder/work/\$part" "/\$part"
done
export CONTAINERS_CONF="$folder/containers.conf" CONTAINERS_STORAGE_CONF="$folder/storage.conf"
exec "\${@:2}"
END
chmod +x "$folder/inside"
"$folder/inside" podman info >/dev/null
touch "$folder/.installed"
