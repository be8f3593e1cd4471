#!/usr/bin/env python3
"""What inside.sh needs of Python: answers about an image, and servers of names and of files."""

import http.server
import json
import socket
import struct
import sys
import threading

# What the server of names knows.
NAMES = {b"\x06images\x07example\x03com\x00": "127.0.0.1"}


def tag(layout):
    """The tag of the only image of a layout, which has the name that the pages give it."""
    with open(f"{layout}/index.json") as file:
        (manifest,) = json.load(file)["manifests"]
    found = manifest["annotations"]["org.opencontainers.image.ref.name"]
    assert manifest["annotations"]["io.containerd.image.name"] == f"localhost/ramblk:{found}"
    print(found)


def process(config):
    """User and words of the process of an unpacked image, one a line."""
    with open(config) as file:
        about = json.load(file)["process"]
    assert "XDG_RUNTIME_DIR=/run" in about["env"], about["env"]
    print(f"{about['user']['uid']}:{about['user']['gid']}", *about["args"], sep="\n")


def names(sock):
    """Answers questions for IPv4 addresses. Any other name does not exist; other types have no record."""
    while True:
        asked, peer = sock.recvfrom(512)
        end = asked.index(b"\0", 12) + 1
        name, kind = asked[12:end].lower(), struct.unpack_from(">H", asked, end)[0]
        found = NAMES.get(name)
        is_address = found is not None and kind == 1
        flags = 0x8180 if found else 0x8183
        said = asked[:2] + struct.pack(">HHHHH", flags, 1, is_address, 0, 0) + asked[12:end + 4]
        if is_address:
            said += struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(found)
        sock.sendto(said, peer)


def servers(path):
    """Serve a file at http://127.0.0.1/content.raw, and names beside it. PATH.served is there when both are."""
    with open(path, "rb") as file:
        content = file.read()
    content = content[:len(content) // 512 * 512]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 53))
    threading.Thread(target=names, args=(sock,), daemon=True).start()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 80), Answer)
    open(f"{path}.served", "w").close()
    server.serve_forever()


if __name__ == "__main__":
    {"tag": tag, "process": process, "servers": servers}[sys.argv[1]](*sys.argv[2:])
