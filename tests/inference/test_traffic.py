"""Clients are split in the configured shares, and each stays where it is."""

from collections import Counter

import pytest

from wsgiapp.inference.traffic import Split

CLIENTS = [f"client-{number}" for number in range(20_000)]


@pytest.mark.parametrize("shares", [{"stable": 95, "canary": 5}, {"a": 0.1, "b": 0.2, "c": 0.7}, {"only": 3}])
def test_shares(shares: dict[str, float]) -> None:
    split = Split(shares)
    counts = Counter(split.label(client) for client in CLIENTS)
    assert split.labels == list(shares)
    for label, share in shares.items():
        assert counts[label] / len(CLIENTS) == pytest.approx(share / sum(shares.values()), abs=0.01)


def test_a_client_keeps_its_label() -> None:
    first, second = Split({"stable": 95, "canary": 5}), Split({"stable": 95, "canary": 5})
    assert [first.label(client) for client in CLIENTS[:500]] == [second.label(client) for client in CLIENTS[:500]]
    assert first.label("") in ("stable", "canary") and first.label("客户\udcff")


def test_a_larger_share_only_adds_clients() -> None:
    before, after = Split({"stable": 95, "canary": 5}), Split({"stable": 80, "canary": 20})
    moved = {(before.label(client), after.label(client)) for client in CLIENTS}
    assert moved == {("stable", "stable"), ("canary", "canary"), ("stable", "canary")}
