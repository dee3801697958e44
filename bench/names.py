"""The DNS of the benchmark, where every domain below ``bench.`` has the same mail host.

``python -m bench.names ADDRESS PORT HOST``; HOST is the address of that mail host.
"""

from __future__ import annotations

import socket
import sys

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

MAIL_HOST = "mail.host.bench."
TTL_S = 3600


def answer(query: dns.message.Message, host: str) -> dns.message.Message:
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.AA | dns.flags.RA
    name, kind = query.question[0].name, query.question[0].rdtype
    if not name.to_text().lower().endswith("bench."):
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif kind == dns.rdatatype.MX and name.to_text().lower() != MAIL_HOST:
        reply.answer.append(dns.rrset.from_text(name, TTL_S, "IN", "MX", f"10 {MAIL_HOST}"))
    elif kind == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(name, TTL_S, "IN", "A", host))
    return reply


def serve(address: str, port: int, host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        while True:
            data, client = server.recvfrom(4096)
            server.sendto(answer(dns.message.from_wire(data), host).to_wire(), client)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
