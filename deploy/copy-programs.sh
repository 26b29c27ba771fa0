#!/bin/sh
# Copies programs and the libraries that they link to into a new root file system: copy-programs.sh ROOT PROGRAM...
# Includes the licences and the dpkg status of their packages, from which scanners list the content of an image.
set -eu

root=$1
shift
mkdir -p "$root/var/lib/dpkg/status.d"
libraries=$(ldd "$@" | grep -o '/[^ ]*\.so[^ ]*' | sort -u)
# No path contains a space.
# shellcheck disable=SC2086
cp --parents --dereference /etc/os-release "$@" $libraries "$root"
# shellcheck disable=SC2086,SC2046
packages=$(dpkg-query --search $(realpath $libraries))
# Node is not a package of Debian.
packages="$packages
$(dpkg-query --search "$@" 2>/dev/null || true)"
for package in $(echo "$packages" | cut -d: -f1 | sort -u); do
  dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$package"
  cp --parents --dereference "/usr/share/doc/$package/copyright" "$root"
done
