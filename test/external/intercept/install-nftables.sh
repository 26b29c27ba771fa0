#!/usr/bin/env bash
# Unpacks Debian's nftables, iptables and ipset into .cache/nftables. Does not install them on the machine. The programs are in
# `.cache/nftables/bin`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/.cache/nftables

if "$folder/bin/ipset" --version >/dev/null 2>&1; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo 'nftables is installed by apt: run this on Debian' >&2
  exit 1
fi
rm -rf "$folder"
mkdir -p "$folder"/{archives/partial,root,bin}
bash test/external/apt-update.sh
# apt's locks are unnecessary, because this only downloads into its own folder.
apt-get -qq --yes --download-only --no-install-recommends -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
  -o Dir::Cache::archives="$folder/archives" install nftables iptables ipset
for package in "$folder"/archives/*.deb; do dpkg-deb --extract "$package" "$folder/root"; done
rm -r "$folder/archives"
library=$(cd "$folder/root" && echo usr/lib/*-linux-gnu*)
wrap() { # NAME PROGRAM
  cat >"$folder/bin/$1" <<END
#!/bin/sh
# By its own place, because the repository may be moved. Starts no other program: the firewall of the node runs these all the time.
root=\${0%/*}/../root
export LD_LIBRARY_PATH=\$root/$library XTABLES_LIBDIR=\$root/$library/xtables
exec "\$root/usr/sbin/$2" "\$@"
END
  chmod +x "$folder/bin/$1"
}
wrap iptables-nft iptables-nft
wrap iptables-legacy iptables-legacy
# By the names that kube-router looks for.
for suffix in '' -save -restore; do wrap "iptables$suffix" "iptables-nft$suffix"; done
wrap nft nft
# The last one: it marks a complete installation.
wrap ipset ipset
