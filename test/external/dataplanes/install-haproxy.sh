#!/usr/bin/env bash
# Downloads Debian's haproxy, unless it is in the PATH, and unpacks it below node_modules with its libraries. Nothing is installed,
# because the installation starts a service.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/node_modules/.haproxy

if command -v haproxy >/dev/null || [[ -x $folder/usr/sbin/haproxy && -d $folder/lib ]]; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo 'haproxy is missing, and so is apt: install HAProxy 2.6 or later' >&2
  exit 1
fi
rm -rf "$folder"
mkdir -p "$folder/archives/partial" "$folder/lib"
if ((EUID == 0)); then bash test/external/apt-update.sh; fi
options=(-qq -o "Dir::Cache::archives=$folder/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
apt-get "${options[@]}" install --download-only --no-install-recommends --yes haproxy >/dev/null
for package in "$folder"/archives/*.deb; do dpkg-deb --extract "$package" "$folder"; done
rm -r "$folder/archives"
ln -s "$folder"/usr/lib/*/*.so* "$folder/lib/"
