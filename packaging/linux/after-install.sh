#!/bin/sh
# dpkg calls this with "configure" and, for an upgrade, the version before; rpm
# with 1 or, for an upgrade, 2.
set -e
case "$1 $2" in
"configure " | "1 ")
	echo "m365_defender_exporter: set tenant and application in /etc/default/m365_defender_exporter, put the secret"
	echo "into /etc/m365_defender_exporter/client_secret, then: systemctl enable --now m365_defender_exporter"
	;;
esac
[ -d /run/systemd/system ] || exit 0 # an image is being made, say
systemctl daemon-reload
case "$1 $2" in
"configure "?* | "2 "*)
	# A service that does not run stays so. The package is installed even if the
	# service does not start.
	systemctl try-restart m365_defender_exporter.service || true
	;;
esac
