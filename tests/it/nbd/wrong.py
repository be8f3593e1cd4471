"""Requests that no honest client makes, by libnbd without its own checks: wrong.py URI SIZE rw|ro"""

import errno
import os
import socket
import struct
import sys

import nbd

URI, SIZE, MODE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
RW = MODE == "rw"
SOCKET = URI.split("socket=", 1)[1]
BLOCK = 512


def connect(options=lambda handle: None):
    handle = nbd.NBD()
    handle.set_strict_mode(0)
    handle.add_meta_context("base:allocation")
    options(handle)
    handle.connect_uri(URI)
    return handle


def fails(wanted, call, *arguments):
    """Call it, and expect this errno; the connection must still be good afterwards."""
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum in wanted, (call, arguments, error.errno, error.string)
    else:
        raise AssertionError(("must fail", call, arguments))
    assert len(h.pread(BLOCK, 0)) == BLOCK


def extents(handle, length, offset, flags=0):
    found = []
    handle.block_status(length, offset, lambda *runs: found.append(runs) or 0, flags)
    return found


h = connect()
INVAL, NOSPC, PERM = {errno.EINVAL}, {errno.ENOSPC}, {errno.EPERM}
data = b"x" * BLOCK

# Beyond the end, and around 2^64.
for offset in (SIZE, SIZE - BLOCK + 1, 1 << 40, (1 << 63) - BLOCK, (1 << 64) - BLOCK):
    fails(INVAL, h.pread, BLOCK, offset)
    fails(INVAL, extents, h, BLOCK, offset)
    fails(INVAL, h.cache, BLOCK, offset)
    if RW:
        fails(NOSPC, h.pwrite, data, offset)
        fails(NOSPC, h.zero, BLOCK, offset)
        fails(INVAL, h.trim, BLOCK, offset)
# Nothing at all.
fails(INVAL, h.pread, 0, 0)
fails(INVAL, extents, h, 0, 0)
# Longer than a request may be.
fails(INVAL | {errno.ERANGE}, h.pread, (32 << 20) + BLOCK, 0)
# Flags that the command doesn't have, or nothing has.
for flag in (1 << 1, 1 << 3, 1 << 4, 1 << 5, 1 << 15):
    fails(INVAL, h.pread, BLOCK, 0, flag)
    fails(INVAL, h.flush, flag)
    fails(INVAL, h.cache, BLOCK, 0, flag)
for flag in (1 << 1, 1 << 2, 1 << 15):
    fails(INVAL, extents, h, BLOCK, 0, flag)
if RW:
    fails(INVAL, h.pwrite, b"", 0)
    fails(INVAL, h.trim, 0, 0)
    fails(INVAL, h.zero, 0, 0)
    # Not at a sector.
    fails(INVAL, h.pwrite, data, 1)
    fails(INVAL, h.pwrite, data[1:], 0)
    fails(INVAL, h.trim, BLOCK, 7)
    fails(INVAL, h.zero, BLOCK - 1, 0)
    for flag in (1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 15):
        fails(INVAL, h.pwrite, data, 0, flag)
        fails(INVAL, h.trim, BLOCK, 0, flag)
    # FAST_ZERO and NO_HOLE are served.
    h.zero(BLOCK, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    h.pwrite(data, 0, nbd.CMD_FLAG_FUA)
    assert h.pread(BLOCK, 0) == data
else:
    for write in (
        lambda: h.pwrite(data, 0),
        lambda: h.zero(BLOCK, 0),
        lambda: h.trim(BLOCK, 0),
        lambda: h.pwrite(b"y" * (3 << 20), 0),
    ):
        fails(PERM, write)
h.flush()
assert h.pread(BLOCK, 0, nbd.CMD_FLAG_DF) is not None
one = extents(h, SIZE, 0, nbd.CMD_FLAG_REQ_ONE)
assert len(one) == 1 and len(one[0][2]) == 2 and one[0][2][0] > 0, one

# Without structured replies: the same bytes, no contexts, and DF is unknown.
plain = connect(lambda handle: handle.set_request_structured_replies(False))
assert plain.pread(SIZE, 0) == h.pread(SIZE, 0)
for call in (lambda: extents(plain, BLOCK, 0), lambda: plain.pread(BLOCK, 0, nbd.CMD_FLAG_DF)):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum in (errno.EINVAL, errno.ENOTSUP), error.string
    else:
        raise AssertionError("must fail")
plain.shutdown()


# By hand, below libnbd.
def receive(sock, count):
    got = b""
    while len(got) < count:
        part = sock.recv(count - len(got))
        if not part:
            raise EOFError
        got += part
    return got


def greeted(flags=3):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(SOCKET)
    assert receive(sock, 18) == b"NBDMAGICIHAVEOPT\0\3"
    sock.sendall(struct.pack(">I", flags))
    return sock


def option(sock, number, payload=b"", length=None):
    length = len(payload) if length is None else length
    sock.sendall(b"IHAVEOPT" + struct.pack(">II", number, length) + payload)


def reply(sock):
    magic, number, kind, length = struct.unpack(">QIII", receive(sock, 20))
    assert magic == 0x3E889045565A9
    return number, kind, receive(sock, length)


def is_closed(sock):
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


ACK, UNSUP, INVALID, UNKNOWN, TOO_BIG = 1, 1 << 31 | 1, 1 << 31 | 3, 1 << 31 | 6, 1 << 31 | 9
sock = greeted()
for number in (0, 4, 5, 9 + 2, 99, 0xFFFFFFFF):
    option(sock, number, b"whatever")
    assert reply(sock)[:2] == (number, UNSUP), number
for number, payload in (
    (3, b"x"), (8, b"x"), (7, b""), (7, b"\xff\xff\xff\xff"), (7, b"\0\0\0\0\xff\xff"),
    (6, b"\0\0\0\0\0\0\0"), (10, b"\0\0\0\0\xff\xff\xff\xff"), (9, b"\0\0\0\1"),
    (10, b"\0\0\0\0\0\0\0\0"),
):
    option(sock, number, payload)
    assert reply(sock)[:2] == (number, INVALID), (number, payload)
option(sock, 7, b"\0\0\0\7nowhere\0\0")
assert reply(sock)[:2] == (7, UNKNOWN)
option(sock, 7, b"x" * (1 << 20))
assert reply(sock)[:2] == (7, TOO_BIG)
option(sock, 2)
assert reply(sock)[:2] == (2, ACK)
assert is_closed(sock)
# Client flags, magic numbers, lengths and names for which there is no answer.
assert is_closed(greeted(1 << 7))
sock = greeted()
sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
assert is_closed(sock)
sock = greeted()
option(sock, 1, b"nowhere")
assert is_closed(sock)
sock = greeted()
option(sock, 3, b"", 0xFFFFFFFF)
assert is_closed(sock)
# A client that knows only the oldest option, and leaves within a request.
sock = greeted(0)
option(sock, 1)
size, _ = struct.unpack(">QH", receive(sock, 10))
assert size == SIZE and receive(sock, 124) == bytes(124)


def request(command, flags=0, offset=0, length=0, magic=0x25609513):
    return struct.pack(">IHHQQI", magic, flags, command, 7, offset, length)


sock.sendall(request(99) + request(0, 0, 0, BLOCK) + request(1, 0, 0, 4096)[:20])
assert struct.unpack(">IIQ", receive(sock, 16)) == (0x67446698, errno.EINVAL, 7)
assert struct.unpack(">IIQ", receive(sock, 16)) == (0x67446698, 0, 7)
receive(sock, BLOCK)
sock.close()
# A write that is announced, and doesn't come; one that is too long to be read; no request at all.
for tail in (request(1, 0, 0, 4096) + b"half", request(1, 0, 0, 0xFFFFFE00), b"\0" * 28):
    sock = greeted(0)
    option(sock, 1)
    receive(sock, 134)
    sock.sendall(tail)
    if tail[-4:] == b"half":
        sock.shutdown(socket.SHUT_WR)
    assert is_closed(sock)

assert len(h.pread(BLOCK, 0)) == BLOCK
h.shutdown()
print("all refused")
