#!/usr/bin/env bash
# Stands in for docker in the commands of the pages: the node has the images already. `build -t NAME` and `push NAME` fail where it has not.
set -euo pipefail
if [[ $1 == build ]]; then shift; fi
ctr --namespace k8s.io images list --quiet | grep --line-regexp --fixed-strings -- "$2"
