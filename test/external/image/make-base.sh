#!/usr/bin/env bash
# Builds the base image of the Dockerfile, if it is missing, under its real name. It consists of Debian's essential packages, apt, Node
# from its npm package, and npm, like the real base image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/.cache/podman
# Without a digest: it would be that of the real image.
base=$(sed -n 's/^ARG NODE_IMAGE=\([^@]*\).*/\1/p' Dockerfile)
[[ $base =~ ^node:([0-9.]+)-([a-z]+)-slim$ ]] || { echo "cannot build a replacement for the base image $base" >&2; exit 1; }
node_version=${BASH_REMATCH[1]}
suite=${BASH_REMATCH[2]}
npm_version=11.21.2
podman image exists "docker.io/library/$base" && exit 0

unpack() { # PACKAGE FOLDER
  local archive
  archive=$(cd "$folder" && npm pack --silent "$1")
  mkdir -p "$2"
  tar --extract --gzip --no-same-owner --strip-components=1 --directory "$2" --file "$folder/$archive"
  rm "$folder/$archive"
}

root=$folder/base
rm -rf "$root"
# The mirror that this machine uses for its own packages.
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk -v own="$(. /etc/os-release && echo "$VERSION_CODENAME")" \
  '$2 == own { print $1; exit }')
mmdebstrap --quiet --mode=root --variant=essential --include=libstdc++6,apt \
  --dpkgopt=force-unsafe-io --keyring=/usr/share/keyrings "$suite" "$root" "deb $mirror $suite main"
unpack "node-linux-$(node -p process.arch)@$node_version" "$folder/node"
cp "$folder/node/bin/node" "$root/usr/local/bin/"
cp "$folder/node/LICENSE" "$root/usr/local/"
unpack "npm@$npm_version" "$root/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
chmod +x "$root/usr/local/lib/node_modules/npm/bin/npm-cli.js"
tar --create --directory "$root" --exclude=./dev . | podman import --quiet - "docker.io/library/$base"
rm -r "$root" "$folder/node"
