#!/usr/bin/env bash
# Builds the Dockerfile unchanged, and tags its images cambist:test and cambist-redirect:test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=$PWD/.cache/podman
# Two suites use the images.
exec 9>"$folder/build.lock"
flock 9
# A build takes a minute of processor time.
inputs=$(find Dockerfile package.json package-lock.json tsconfig.json src deploy/*.mjs deploy/*.sh deploy/redirect -type f -print0 |
  sort --zero-terminated | xargs --null sha256sum | sha256sum)
if [[ $(cat "$folder/built" 2>/dev/null) == "$inputs" ]]; then exit 0; fi
bash test/external/image/make-base.sh
# Without a digest: it would be that of the real image.
base=$(sed -n 's/^ARG NODE_IMAGE=\([^@]*\).*/\1/p' Dockerfile)

# In the build, npm uses the registry, the trusted CAs and the cache of this machine.
npmrc=$folder/npmrc
mounts=(--volume "$npmrc:/usr/local/etc/npmrc:ro" --volume "$(npm config get cache):/root/.npm:O")
printf "registry=%s\nupdate-notifier=false\n" "$(npm config get registry)" >"$npmrc"
cafile=$(npm config get cafile)
if [[ -f $cafile ]]; then
  echo "cafile=$cafile" >>"$npmrc"
  mounts+=(--volume "$cafile:$cafile:ro")
fi
build() {
  podman build --quiet --pull=never --layers=false --format=docker --network=host "${mounts[@]}" \
    --build-arg "NODE_IMAGE=$base" --build-arg REVISION=test "$@" .
}
build --tag cambist:test
build --target redirect --tag cambist-redirect:test
echo "$inputs" >"$folder/built"
