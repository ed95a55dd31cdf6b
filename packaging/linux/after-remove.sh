#!/bin/sh
# dpkg calls this with "remove", "purge" or "upgrade"; rpm with 0 or, for an
# upgrade, 1. The state and the secret stay until the package is purged, which
# rpm does not know.
set -e
case "$1" in
purge)
	# Where systemd keeps the state of a service that has DynamicUser=, and its link.
	rm -rf /var/lib/private/m365_defender_exporter /var/lib/m365_defender_exporter
	rm -rf /etc/m365_defender_exporter
	;;
esac
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
