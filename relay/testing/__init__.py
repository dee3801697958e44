"""A relay for other people's tests: real, on virtual time, with next hops that misbehave.

With relay installed pytest knows two fixtures::

    def test_my_app_survives_greylisting(relay_world):
        hop = relay_world.next_hop("mx.example.org", domain="example.org")
        hop.greylists(minutes=5)
        relay_world.send("me@example.net", ["ann@example.org"], "Subject: hello\\n\\nIt works.\\n")
        assert hop.messages == []
        relay_world.pass_time(minutes=10)
        assert hop.messages[0].recipients == ["ann@example.org"]

``relay_world`` is a relay.testing.world.RelayWorld, ``relay_server`` a relay.testing.server.RelayServer: a relay and a
next hop on real sockets and real time.  docs/testing.md has more.

The rule that must not be broken: nothing else in relay imports any of this, and this loads nothing before it is asked.
"""
