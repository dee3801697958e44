"""What is remembered: until it expires, and at most so much."""

from __future__ import annotations

from relay.route.cache import Cache


def test_an_entry_is_there_until_it_expires() -> None:
    cache: Cache[str, int] = Cache(10)
    cache.put("a", 1, expires_at=100.0)
    assert cache.get("a", 99.9) == 1
    assert cache.get("a", 100.0) is None
    assert len(cache) == 0  # and takes no room after that


def test_the_least_recently_used_entry_goes_first() -> None:
    cache: Cache[str, int] = Cache(2)
    cache.put("a", 1, 100.0)
    cache.put("b", 2, 100.0)
    assert cache.get("a", 0.0) == 1
    cache.put("c", 3, 100.0)
    assert [cache.get(key, 0.0) for key in "abc"] == [1, None, 3]


def test_a_new_value_takes_the_place_of_the_old() -> None:
    cache: Cache[str, int] = Cache(2)
    cache.put("a", 1, 100.0)
    cache.put("b", 2, 100.0)
    cache.put("a", 3, 200.0)
    assert len(cache) == 2
    assert cache.get("a", 150.0) == 3
    cache.clear()
    assert cache.get("a", 0.0) is None
