#!/usr/bin/env bash
# Downloads Debian's prometheus and promtool, unless they are in the PATH. Unpacks the package below node_modules without
# installing it, because the installation starts a service.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=node_modules/.prometheus

has() { command -v "$1" >/dev/null; }

if has prometheus && has promtool; then exit 0; fi
if [[ -x $folder/usr/bin/prometheus && -x $folder/usr/bin/promtool ]]; then exit 0; fi
if ! has apt-get || ! has dpkg-deb; then
  echo 'prometheus and promtool are missing, and so is apt: install Prometheus 2.42 or later' >&2
  exit 1
fi
mkdir -p "$folder"
cd "$folder"
# Without root the existing package lists must do.
if ((EUID == 0)); then bash ../../test/external/apt-update.sh; fi
apt-get -qq -o APT::Sandbox::User=root download prometheus
dpkg-deb --extract prometheus_*.deb .
rm prometheus_*.deb
usr/bin/promtool --version
