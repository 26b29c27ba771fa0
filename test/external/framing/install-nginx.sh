#!/usr/bin/env bash
# Installs nginx from Debian, where it is missing and apt may.
set -euo pipefail
command -v nginx >/dev/null && exit 0
bash "$(dirname "${BASH_SOURCE[0]}")/../apt-update.sh"
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Options::=--force-unsafe-io --no-install-recommends nginx-light >/dev/null
