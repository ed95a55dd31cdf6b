# Makes blocks of the demo's past, unless that was done before. Prometheus does not
# run yet, and owns the blocks afterwards.
set -e
done=/prometheus/demo-backfilled
if [ -e "$done" ]; then exit 0; fi
promtool tsdb create-blocks-from --max-block-duration=720h openmetrics /history/history /prometheus
chown -R 65534:65534 /prometheus
touch "$done"
