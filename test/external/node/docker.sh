#!/usr/bin/env bash
# Stands in for docker in the commands of the pages. The images of the Dockerfile are built already; that of cambist gets the certificate
# authority of the servers outside, as a company's base image does. The registry is the store of the node's containerd.
set -euo pipefail
case $1 in
  build) podman build --quiet --pull=never --layers=false --tag "$3" "$(dirname "$0")/../image" ;;
  push) podman save --quiet --multi-image-archive "${@:2}" | ctr --namespace k8s.io images import --no-unpack - ;;
esac
