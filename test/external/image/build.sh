#!/usr/bin/env bash
# Builds the Dockerfile as it stands, and tags it cambist:test. Its base image is made first, where it is not there yet, under
# its very name: Debian's essential packages, Node from its npm package, and npm. That is what the real one consists of.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/.cache/podman
base=$(sed -n 's/^ARG NODE_IMAGE=//p' Dockerfile)
[[ $base =~ ^node:([0-9.]+)-([a-z]+)-slim$ ]] || { echo "no stand-in can be made for the base $base" >&2; exit 1; }
node_version=${BASH_REMATCH[1]}
suite=${BASH_REMATCH[2]}
npm_version=11.21.2

unpack() { # PACKAGE FOLDER
  local archive
  archive=$(cd "$folder" && npm pack --silent "$1")
  mkdir -p "$2"
  tar --extract --gzip --no-same-owner --strip-components=1 --directory "$2" --file "$folder/$archive"
  rm "$folder/$archive"
}

# Once for all builds.
make_base() {
  local root=$folder/base mirror
  rm -rf "$root"
  # Where this machine gets its own packages, whatever its release.
  mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk -v own="$(. /etc/os-release && echo "$VERSION_CODENAME")" \
    '$2 == own { print $1; exit }')
  mmdebstrap --quiet --mode=root --variant=essential --include=libstdc++6 \
    --dpkgopt=force-unsafe-io --keyring=/usr/share/keyrings "$suite" "$root" "deb $mirror $suite main"
  unpack "node-linux-$(node -p process.arch)@$node_version" "$folder/node"
  cp "$folder/node/bin/node" "$root/usr/local/bin/"
  cp "$folder/node/LICENSE" "$root/usr/local/"
  unpack "npm@$npm_version" "$root/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  chmod +x "$root/usr/local/lib/node_modules/npm/bin/npm-cli.js"
  tar --create --directory "$root" --exclude=./dev . | podman import --quiet - "docker.io/library/$base"
  rm -r "$root" "$folder/node"
}

podman image exists "docker.io/library/$base" || make_base

# npm in the build asks the registry that npm asks here, trusts whom it trusts here, and may read what it has fetched here.
npmrc=$folder/npmrc
mounts=(--volume "$npmrc:/usr/local/etc/npmrc:ro" --volume "$(npm config get cache):/root/.npm:O")
printf "registry=%s\nupdate-notifier=false\n" "$(npm config get registry)" >"$npmrc"
cafile=$(npm config get cafile)
if [[ -f $cafile ]]; then
  echo "cafile=$cafile" >>"$npmrc"
  mounts+=(--volume "$cafile:$cafile:ro")
fi
podman build --quiet --pull=never --layers=false --format=docker --network=host "${mounts[@]}" \
  --build-arg REVISION=test --tag cambist:test .
