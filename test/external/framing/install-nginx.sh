#!/usr/bin/env bash
# Installs nginx from Debian, where it is missing and apt may.
set -euo pipefail
command -v nginx >/dev/null && exit 0
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null
