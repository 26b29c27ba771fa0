#!/usr/bin/env bash
# Gets Debian's chromium, unless a browser is there.
set -euo pipefail

browser=${CHROMIUM:-/usr/bin/chromium}
if [[ -x $browser ]]; then exit 0; fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "there is no $browser, and no right to install it: install chromium, or name it in CHROMIUM" >&2
  exit 1
fi
apt-get -qq update
apt-get -qq install --yes --no-install-recommends chromium >/dev/null
[[ -x $browser ]]
