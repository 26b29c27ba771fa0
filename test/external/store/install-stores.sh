#!/usr/bin/env bash
# Downloads Debian's valkey and redis, and unpacks them below node_modules with the libraries that they need. Nothing is
# installed, because the installation starts services.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/node_modules/.stores

if [[ -x $folder/usr/bin/valkey-server && -x $folder/usr/bin/redis-server ]]; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo 'valkey and redis are missing, and so is apt: put valkey-server, valkey-cli, redis-server and redis-cli into the PATH' >&2
  exit 1
fi
rm -rf "$folder"
mkdir -p "$folder/lists/partial" "$folder/archives/partial"

# Own lists: no other program of this machine sees the backports, which have Valkey where the release lacks it.
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE)' |
  awk -v release="$release" '
    $1 == "Debian" && !seen[$2 $3]++ {
      print "deb", $2, $3, "main"
      if ($3 == release) print "deb", $2, release "-backports", "main"
    }' >"$folder/sources.list"
options=(
  -qq
  -o "Dir::Etc::sourcelist=$folder/sources.list"
  -o Dir::Etc::sourceparts=-
  -o "Dir::State::lists=$folder/lists"
  -o "Dir::Cache::archives=$folder/archives"
  -o Debug::NoLocking=1
  -o APT::Sandbox::User=root
)
apt-get "${options[@]}" update
apt-get "${options[@]}" install --download-only --no-install-recommends --yes valkey-server redis-server >/dev/null
for package in "$folder"/archives/*.deb; do dpkg-deb --extract "$package" "$folder"; done
rm -r "$folder/lists" "$folder/archives"
