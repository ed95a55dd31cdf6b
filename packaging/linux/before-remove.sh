#!/bin/sh
# dpkg calls this with "remove" or "upgrade"; rpm with 0 or, for an upgrade, 1.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now m365_defender_exporter.service || true
	fi
	;;
esac
