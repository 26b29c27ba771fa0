"""Starts a TCP connection by hand, from a socket of the given kind. Prints how many of its packets left the pod."""

import socket
import struct
import sys

SOURCE, TARGET = (socket.inet_aton(address) for address in ("192.0.2.2", "192.0.2.1"))
OTHER_PORT = 8443


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(port):
    fields = [40000, port, 1, 0, 5 << 4, 2, 65535, 0, 0]
    pseudo = SOURCE + TARGET + struct.pack("!BBH", 0, socket.IPPROTO_TCP, 20)
    fields[7] = checksum(pseudo + struct.pack("!HHIIBBHHH", *fields))
    return struct.pack("!HHIIBBHHH", *fields)


def datagram(segment):
    fields = [0x45, 0, 20 + len(segment), 1, 0, 64, socket.IPPROTO_TCP, 0, SOURCE, TARGET]
    fields[7] = checksum(struct.pack("!BBHHHBBH4s4s", *fields))
    return struct.pack("!BBHHHBBH4s4s", *fields) + segment


def by_raw_socket(segment):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as out:
        try:
            out.sendto(segment, (socket.inet_ntoa(TARGET), 0))
        except PermissionError:
            pass  # The rules rejected it.


def by_packet_socket(segment):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as out:
        out.sendto(datagram(segment), ("pod", 0x0800, 0, 0, b"\x02\x00\x00\x00\x00\x01"))


send = {"raw": by_raw_socket, "packet": by_packet_socket}[sys.argv[1]]
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as outside:
    outside.bind(("out", 0x0800))
    outside.settimeout(30)
    send(syn(443))
    send(syn(OTHER_PORT))
    left = 0
    while True:
        data = outside.recv(2048)
        if data[9] != socket.IPPROTO_TCP:
            continue
        (port,) = struct.unpack("!H", data[22:24])
        left += port == 443
        # The rules do not cover this port, so its packet comes after all others.
        if port == OTHER_PORT:
            break
print(left)
