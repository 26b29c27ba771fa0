#!/usr/bin/env bash
# Unpacks Debian's nftables and its libraries into .cache/nftables. Does not install them on the machine.
# `.cache/nftables/bin/nft` is the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/.cache/nftables

if [[ -e $folder/bin/nft ]]; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo 'nftables is installed by apt: run this on Debian' >&2
  exit 1
fi
rm -rf "$folder"
mkdir -p "$folder"/{archives/partial,root,bin}
apt-get -qq update
# apt's locks are unnecessary, because this only downloads into its own folder.
apt-get -qq --yes --download-only --no-install-recommends -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
  -o Dir::Cache::archives="$folder/archives" install nftables
for package in "$folder"/archives/*.deb; do dpkg-deb --extract "$package" "$folder/root"; done
rm -r "$folder/archives"
cat >"$folder/nft" <<END
#!/bin/sh
LD_LIBRARY_PATH=\$(echo "$folder"/root/usr/lib/*-linux-gnu*) exec "$folder/root/usr/sbin/nft" "\$@"
END
chmod +x "$folder/nft"
mv "$folder/nft" "$folder/bin/nft"
