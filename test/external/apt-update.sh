#!/usr/bin/env bash
# Updates the package lists, unless that was done since the last `npm ci`.
set -euo pipefail
mark=$(dirname "${BASH_SOURCE[0]}")/../../node_modules/.apt-updated
[[ -e $mark ]] && exit 0
apt-get -qq update
touch "$mark"
