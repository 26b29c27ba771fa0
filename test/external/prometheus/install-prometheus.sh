#!/usr/bin/env bash
# Gets Debian's prometheus and promtool, unless they are there. The package is unpacked below node_modules and not
# installed, since installing it starts a service.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=node_modules/.prometheus

has() { command -v "$1" >/dev/null; }

if has prometheus && has promtool; then exit 0; fi
if [[ -x $folder/usr/bin/prometheus && -x $folder/usr/bin/promtool ]]; then exit 0; fi
if ! has apt-get || ! has dpkg-deb; then
  echo 'prometheus and promtool are not in the PATH, and there is no apt to get them with: install Prometheus 2.42 or later' >&2
  exit 1
fi
mkdir -p "$folder"
cd "$folder"
# Whoever is not root has to be content with the package lists that are there.
if ((EUID == 0)); then apt-get -qq update; fi
apt-get -qq -o APT::Sandbox::User=root download prometheus
dpkg-deb --extract prometheus_*.deb .
rm prometheus_*.deb
usr/bin/promtool --version
