"""Starts what an image's configuration says, in its unpacked file system.

    image-run.py CONFIG ROOT PORT

stands for a container engine with a read-only root: its user, its working
directory, its entrypoint, nothing of this machine but the network.
"""

import json
import os
import sys

config = json.load(open(sys.argv[1]))["config"]
root, port = sys.argv[2:]
user, group = map(int, config["User"].split(":"))
os.chroot(root)
os.chdir(config["WorkingDir"])
os.setgroups([])
os.setgid(group)
os.setuid(user)


def writable(path):
    try:
        with open(path, "w"):
            os.remove(path)
        return True
    except OSError:
        return False


for path in "/x", "/bin/x", "/etc/x", "/var/lib/x":
    if writable(path):
        sys.exit(f"{path}: can be written")
if config["WorkingDir"] not in config["Volumes"] or not writable("x"):
    sys.exit(f"{config['WorkingDir']}: no volume, or cannot be written")
entrypoint = config["Entrypoint"]
os.execve(entrypoint[0], entrypoint + ["--demo", f"--web.listen-address=127.0.0.1:{port}"], {})
