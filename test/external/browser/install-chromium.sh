#!/usr/bin/env bash
# Installs Debian's chromium, if there is no browser.
set -euo pipefail

browser=${CHROMIUM:-/usr/bin/chromium}
if [[ -x $browser ]]; then exit 0; fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "$browser is missing and cannot be installed: install chromium, or set CHROMIUM to its path" >&2
  exit 1
fi
bash "$(dirname "${BASH_SOURCE[0]}")/../apt-update.sh"
# Without a sync to disk after each file.
apt-get -qq -o Dpkg::Options::=--force-unsafe-io install --yes --no-install-recommends chromium >/dev/null
[[ -x $browser ]]
