"""Does every operation of the API with a client that was made of its document.

    client.py DOCUMENT SOCKET

The client is the package `ramblk_client`, made by openapi-python-client; scripts/check-client makes
it. An operation of the document that is not called here is a failure, and so is an answer that the
client can't read as what the document says.
"""

import importlib
import json
import re
import sys
import threading
import time
from io import BytesIO

import httpx

import ramblk_client
from ramblk_client import models
from ramblk_client.types import UNSET, File

MIB = 1 << 20

document_path, socket_path = sys.argv[1:]
with open(document_path, encoding="utf-8") as file:
    document = json.load(file)

operations = {
    operation["operationId"]: operation["tags"][0]
    for item in document["paths"].values()
    for operation in item.values()
}
called = set()


def new_client(seconds=60.0):
    """A client that speaks over the socket."""
    transport = httpx.HTTPTransport(uds=socket_path)
    return ramblk_client.Client(
        base_url="http://localhost",
        timeout=httpx.Timeout(seconds),
        httpx_args={"transport": transport},
    )


client = new_client()


def module(operation_id):
    """What the client has for an operation."""
    tag = operations[operation_id]
    return importlib.import_module(f"ramblk_client.api.{tag}.{operation_id}")


def call(operation_id, *args, status, kind=None, **kwargs):
    """Do an operation: its status is this one, and the answer one of this kind."""
    answer = module(operation_id).sync_detailed(*args, client=client, **kwargs)
    said = answer.content[:500]
    assert answer.status_code == status, (operation_id, answer.status_code, said)
    if kind is not None:
        assert isinstance(answer.parsed, kind), (operation_id, type(answer.parsed), said)
    called.add(operation_id)
    return answer.parsed


def settings(**more):
    """A disk of a mebibyte."""
    return models.DiskSettings(size_bytes=MIB, **more)


def listen(into):
    """Listen to events until the deadline: the client returns them when the stream has ended."""
    response = []
    kwargs = module("get_events")._get_kwargs(disk="a")
    with new_client(30.0).get_httpx_client().stream(**kwargs) as stream:
        assert stream.status_code == 200, stream.status_code
        into["listening"].set()
        for line in stream.iter_lines():
            if line.startswith("data: "):
                response.append(models.Event.from_dict(json.loads(line[6:])))
            if response and response[-1].type_ == models.EventKind.DESTROYED:
                break
    into["events"] = response
    called.add("get_events")


# What is there at the start.
assert call("get_health", status=200, kind=str) == "ok\n"
assert call("get_version", status=200, kind=models.Version).api == "v1"
assert call("list_disks", status=200, kind=list) == []
assert call("get_pool", status=200, kind=models.Pool).limit_bytes == 256 * MIB
made = call("get_openapi", status=200)
assert set(made.to_dict()["paths"]) == set(document["paths"])

# Groups and disks.
limits = models.Limits(read=models.Rate(iops=1000))
group = call("put_group", "g", body=limits, status=201, kind=models.Group)
assert group.limits.read.iops == 1000
labels = models.DiskSettingsLabels.from_dict({"vm": "web-1"})
disk = call(
    "put_disk",
    "a",
    body=settings(group="g", labels=labels, on_full=models.OnFull.STALL),
    status=201,
    kind=models.Disk,
)
assert (disk.size_bytes, disk.group, disk.on_full) == (MIB, "g", models.OnFull.STALL)
assert disk.labels["vm"] == "web-1" and disk.state == models.DiskState.OK
heard = {"listening": threading.Event()}
listener = threading.Thread(target=listen, args=(heard,), daemon=True)
listener.start()
assert heard["listening"].wait(30), "nobody lets us listen"
call("put_disk", "a", body=settings(), status=409, kind=models.Problem)
assert [one.name for one in call("list_disks", label=["vm=web-1"], status=200)] == ["a"]
assert call("list_disks", label=["vm=web-1", "vm=b"], status=200) == []
patch = models.DiskPatch(size_bytes=2 * MIB, group=None)
patched = call("patch_disk", "a", body=patch, status=200, kind=models.Patched)
assert (patched.disk.size_bytes, patched.disk.group) == (2 * MIB, None)
assert patched.resized.to_bytes == 2 * MIB
problem = call("patch_disk", "a", body=models.DiskPatch(size_bytes=MIB + 1), status=400)
assert problem.type_ == "urn:ramblk:problem:invalid" and problem.field == "size_bytes"
assert call("get_disk", "a", status=200, kind=models.Disk).size_bytes == 2 * MIB
assert call("get_disk", "no", status=404, kind=models.Problem).status == 404
wanted = models.Limits(total=models.Rate(bytes_per_second=10 * MIB))
assert call("put_limits", "a", body=wanted, status=200, kind=models.Limits) == call(
    "get_limits", "a", status=200, kind=models.Limits
)
call("put_limits", "a", body=models.Limits(), status=200)
assert [one.name for one in call("list_groups", status=200)] == ["g"]
assert call("get_group", "g", status=200, kind=models.Group).disks == []
bound = models.LimitsPatch(write=models.RatePatch(iops=500))
group = call("patch_group", "g", body=bound, status=200, kind=models.Group)
assert (group.limits.read.iops, group.limits.write.iops) == (1000, 500)

# Content goes in and comes out, byte by byte; what is no raw image doesn't.
content = bytes(range(1, 256)) * 4128
content = content[:MIB]
call("put_data", "a", body=File(payload=BytesIO(content)), status=204)
read = call("get_data", "a", status=200, kind=File).payload.read()
assert read == content + bytes(MIB)
gzip = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\x03\0\0\0\0\0\0\0\0\0"
refused = call("put_data", "a", body=File(payload=BytesIO(gzip)), status=415, kind=models.Problem)
assert refused.field == "format"
mapped = call("get_map", "a", limit=1, status=200, kind=models.Map)
assert mapped.extents[0].mapped and mapped.extents[0].length_bytes == MIB
assert mapped.next_bytes == MIB

# Snapshots, forks, and back.
taken = call("put_snapshot", "a", "s", status=201, kind=models.Snapshot)
assert taken.mapped_bytes == MIB
raw = models.PutDataFormat.RAW
call("put_data", "a", body=File(payload=BytesIO(gzip)), format_=raw, force=True, status=204)
assert call("get_data", "a", snapshot="s", status=200, kind=File).payload.read()[:MIB] == content
assert [one.name for one in call("list_snapshots", "a", status=200)] == ["s"]
assert call("get_snapshot", "a", "s", status=200, kind=models.Snapshot).size_bytes == 2 * MIB
fork = models.ForkRequest(name="b", snapshot="s", queues=2)
assert call("fork_disk", "a", body=fork, status=201, kind=models.Disk).parent == "a@s"
reset = call("reset_disk", "a", body=models.ResetRequest(to="s"), status=200, kind=models.Disk)
assert reset.mapped_bytes == MIB
assert call("get_data", "a", status=200, kind=File).payload.read()[:MIB] == content
stats = call("get_stats", "a", status=200, kind=models.Stats)
assert stats.disk == "a" and stats.in_flight == 0
metrics = call("get_metrics", status=200, kind=str)
assert re.search(r'^ramblk_disk_\w+\{disk="a"', metrics, re.MULTILINE), metrics[:500]

# All at once.
config = call("get_config", status=200, kind=models.Config)
assert sorted(one.name for one in config.disk) == ["a", "b"]
again = call("put_config", body=config, status=200, kind=models.Applied)
assert again.created == [] and again.changed == []
config.disk.append(models.ConfigDisk(name="c", size_bytes=MIB))
again = call("put_config", body=config, dry_run=True, status=200, kind=models.Applied)
assert again.created == ["c"] and len(call("list_disks", status=200)) == 2

# And away with it.
call("delete_disk", "b", status=204)
call("delete_snapshot", "a", "s", status=204)
call("delete_disk", "a", force=True, snapshots=True, status=204)
call("delete_group", "g", status=204)
listener.join(30)
assert not listener.is_alive(), "no end of events"
resized = next(one for one in heard["events"] if one.type_ == models.EventKind.RESIZED)
assert resized.details["to_bytes"] == 2 * MIB and resized.disk == "a"

missing = sorted(set(operations) - called)
assert not missing, f"operations that nobody called: {missing}"
print(f"{len(called)} operations of {len(operations)}, {len(heard['events'])} events")
