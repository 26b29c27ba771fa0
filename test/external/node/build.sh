#!/usr/bin/env bash
# Builds the images of the node, before it has a network of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
bash test/external/image/build.sh
base=$(sed -n 's/^ARG NODE_IMAGE=\([^@]*\).*/\1/p' Dockerfile)
agent=localhost/agent:$(cat test/external/node/agent-image/Containerfile <(echo "$base") | sha256sum | head -c 12)
podman image exists "$agent" ||
  podman build --quiet --pull=never --squash-all --network=host --build-arg "NODE_IMAGE=$base" --tag "$agent" test/external/node/agent-image
podman tag "$agent" localhost/agent:test registry.example.com/agent:1.0.0 docker.io/curlimages/curl:8.17.0 docker.io/valkey/valkey:8.1
podman tag localhost/cambist-redirect:test registry.example.com/cambist-redirect:0.1.0
