"""Disks for a fleet of machines, forked from one golden image: an example of the Python client.

    fleet.py up NAME COUNT --image IMAGE [--quota BYTES]     make NAME-1 to NAME-COUNT, print their sockets
    fleet.py show NAME                                       what each of them takes
    fleet.py down NAME                                       end all of them

`up` is all or nothing, and can be repeated. The image is one of `ramblk image list`. docs/guide/reference/api.md says how
the client `ramblk_client` is made.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import TypeVar

import httpx

from ramblk_client import Client
from ramblk_client.api.disks import delete_disk, list_disks, put_disk
from ramblk_client.api.images import get_image
from ramblk_client.models import Disk, DiskSettings, DiskSettingsLabels, OnFull, Problem

LABEL = "fleet"

Answer = TypeVar("Answer")


class Failed(Exception):
    """What the daemon says about a request that it did not serve."""


def taken(answer: Answer | Problem | None) -> Answer:
    """The answer of an operation."""
    if isinstance(answer, Problem):
        raise Failed(answer.detail)
    if answer is None:
        raise Failed("the daemon's answer is none that the document knows")
    return answer


def connect(socket: str) -> Client:
    """A client that speaks over the daemon's socket."""
    transport = httpx.HTTPTransport(uds=socket)
    return Client(
        base_url="http://localhost",
        timeout=httpx.Timeout(60.0),
        httpx_args={"transport": transport},
    )


def disks_of(client: Client, fleet: str) -> list[Disk]:
    """The fleet's disks."""
    return taken(list_disks.sync(client=client, label=[f"{LABEL}={fleet}"]))


def end(client: Client, names: Iterator[str]) -> None:
    """End disks, even while machines use them."""
    for name in names:
        gone = delete_disk.sync(name, client=client, force=True, snapshots=True)
        if isinstance(gone, Problem):
            raise Failed(gone.detail)


def up(client: Client, fleet: str, count: int, image: str, quota_bytes: int | None) -> list[Disk]:
    """Fork the image for each machine. If one can't be made, those that this call made end again."""
    golden = taken(get_image.sync(image, client=client))
    labels = DiskSettingsLabels.from_dict({LABEL: fleet})
    had = {disk.name for disk in disks_of(client, fleet)}
    disks: list[Disk] = []
    try:
        for number in range(1, count + 1):
            settings = DiskSettings(
                size_bytes=golden.size_bytes,
                labels=labels,
                on_full=OnFull.STALL,
                quota_bytes=quota_bytes,
            )
            name = f"{fleet}-{number}"
            made = put_disk.sync(name, client=client, body=settings, from_image=golden.digest)
            disks.append(taken(made))
    except Failed:
        end(client, (disk.name for disk in disks if disk.name not in had))
        raise
    return disks


def main(words: list[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="fleet.py")
    default = os.environ.get("RAMBLK_API", "/run/ramblk/api.sock")
    parser.add_argument("--api-socket", default=default)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("up")
    make.add_argument("name")
    make.add_argument("count", type=int)
    make.add_argument("--image", required=True)
    make.add_argument("--quota", type=int)
    verbs.add_parser("show").add_argument("name")
    verbs.add_parser("down").add_argument("name")
    options = parser.parse_args(words)
    client = connect(options.api_socket)
    if options.verb == "up":
        for disk in up(client, options.name, options.count, options.image, options.quota):
            print(disk.name, disk.socket)
    elif options.verb == "show":
        for disk in disks_of(client, options.name):
            print(disk.name, disk.charged_bytes, "attached" if disk.attached else "free")
    else:
        end(client, (disk.name for disk in disks_of(client, options.name)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Failed, httpx.HTTPError) as failed:
        sys.exit(f"fleet.py: {failed}")
