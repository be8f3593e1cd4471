#!/usr/bin/env python3
"""An OCI image of one program, from nothing and without a network.

    scripts/packaging/oci.py PROGRAM VERSION ARCHITECTURE ARCHIVE

The archive is an image layout (`podman load -i ARCHIVE`, `skopeo copy oci-archive:ARCHIVE ...`). It has one
layer: the program, its user, and the directory of its sockets. The same program gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from datetime import datetime, timezone

# A user without a name on any host, as images without a distribution have it.
USER = 65532
WHEN = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
KIND = "application/vnd.oci.image."


def entry(archive, name, mode, content=None, owner=0, link=None):
    about = tarfile.TarInfo(name)
    about.mode, about.uid, about.gid, about.mtime = mode, owner, owner, WHEN
    if link:
        about.type, about.linkname = tarfile.SYMTYPE, link
    elif content is None:
        about.type = tarfile.DIRTYPE
    else:
        about.size = len(content)
    archive.addfile(about, None if content is None else io.BytesIO(content))


def layer(program):
    """The files of the image."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("etc", "run", "usr", "usr/bin", "usr/libexec"):
            entry(archive, name, 0o755)
        entry(archive, "etc/group", 0o644, f"root:x:0:\nramblk:x:{USER}:\n".encode())
        entry(archive, "etc/passwd", 0o644,
              f"root:x:0:0::/:/nologin\nramblk:x:{USER}:{USER}::/:/nologin\n".encode())
        entry(archive, "run/ramblk", 0o755, owner=USER)
        entry(archive, "tmp", 0o1777)
        entry(archive, "usr/bin/ramblk", 0o755, program)
        entry(archive, "usr/libexec/vhost-user-ramblk", 0o777, link="../bin/ramblk")
    return made.getvalue()


def main(program, version, architecture, path):
    with open(program, "rb") as file:
        plain = layer(file.read())
    packed = gzip.compress(plain, 9, mtime=0)
    when = datetime.fromtimestamp(WHEN, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    blobs = {}

    def blob(content, kind):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": KIND + kind, "digest": f"sha256:{digest}", "size": len(content)}

    labels = {
        "org.opencontainers.image.title": "ramblk",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
        "org.opencontainers.image.description": "RAM disks for virtual machines (vhost-user-blk)",
    }
    config = {
        "created": when, "architecture": architecture, "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            # So that the daemon and the verbs both look in /run/ramblk.
            "Env": ["PATH=/usr/bin", "XDG_RUNTIME_DIR=/run"],
            "Entrypoint": ["/usr/bin/ramblk"], "Cmd": ["serve"], "WorkingDir": "/",
            "StopSignal": "SIGTERM", "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]},
        "history": [{"created": when, "created_by": "scripts/package"}],
    }
    manifest = {
        "schemaVersion": 2, "mediaType": KIND + "manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "config.v1+json"),
        "layers": [blob(packed, "layer.v1.tar+gzip")],
        "annotations": labels,
    }
    described = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    # The tag, as tools of OCI look for it; and the whole name, as `podman load` and containerd do.
    described["annotations"] = {
        "org.opencontainers.image.ref.name": version,
        "io.containerd.image.name": f"localhost/ramblk:{version}",
    }
    described["platform"] = {"architecture": architecture, "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": KIND + "index.v1+json", "manifests": [described]}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        entry(archive, "blobs", 0o755)
        entry(archive, "blobs/sha256", 0o755)
        for digest, content in sorted(blobs.items()):
            entry(archive, f"blobs/sha256/{digest}", 0o644, content)
        entry(archive, "index.json", 0o644, json.dumps(index).encode())
        entry(archive, "oci-layout", 0o644, b'{"imageLayoutVersion": "1.0.0"}')


if __name__ == "__main__":
    main(*sys.argv[1:])
