#!/bin/sh
# unpack-nginx.sh DIR: fetches Debian's package nginx, with those of the packages it depends
# on that the machine lacks, and unpacks them below DIR. Nothing is installed and no service
# is set up: the binary is DIR/root/usr/sbin/nginx, to be run with LD_LIBRARY_PATH=DIR/lib.
set -eu
dir=$1
mkdir -p "$dir/debs/partial" "$dir/root" "$dir/lib"

# NoLocking and an archive directory of its own, so that apt leaves the machine as it is.
fetch() {
	apt-get -qq -o Debug::NoLocking=1 -o APT::Sandbox::User= -o Dir::Cache::archives="$dir/debs" \
		install -y --no-install-recommends --download-only nginx
}

# The lists of packages may be missing or old; only root can have them anew.
fetch || { apt-get -qq update && fetch; }

for deb in "$dir"/debs/*.deb; do
	dpkg-deb -x "$deb" "$dir/root"
done
find "$dir/root" -name '*.so.*' -exec ln -sf {} "$dir/lib/" ';'
