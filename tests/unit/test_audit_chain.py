"""The hash chain and the Merkle tree of the audit trail, against published vectors and against the definition."""

from __future__ import annotations

import hashlib
import random

import pytest

from udfs.domain.audit_chain import AuditChain, Block, ChainOrderError, MerkleTree, first_hash, next_hash, record_hash
from udfs.domain.state_codec import StateError

# Leaves and roots of the reference implementation of RFC 6962 (certificate-transparency, merkle_tree_test.cc).
LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_merkle_tree_with_published_leaves_has_published_roots() -> None:
    tree = MerkleTree()
    roots = [tree.root().hex()]
    for leaf in LEAVES:
        tree.add(bytes.fromhex(leaf))
        roots.append(tree.root().hex())
    assert roots == ROOTS


def test_next_hash_of_a_published_message_is_the_published_digest() -> None:
    # FIPS 180-4 examples, one block and two blocks, cut in two.
    assert next_hash(b"a", b"bc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    text = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    assert next_hash(text[:30], text[30:]).hex() == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"


def _root_by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + _root_by_definition(leaves[:half]) + _root_by_definition(leaves[half:])).digest()


def test_merkle_tree_of_any_size_equals_the_definition() -> None:
    tree, leaves = MerkleTree(), []
    for number in range(131):
        assert tree.root() == _root_by_definition(leaves), number
        assert len(tree.peaks) == number.bit_count()
        leaves.append(number.to_bytes(4, "big"))
        tree.add(leaves[-1])


def test_merkle_tree_with_a_node_given_as_a_leaf_has_another_root() -> None:
    two, one = MerkleTree(), MerkleTree()
    for leaf in (b"a", b"b"):
        two.add(leaf)
    one.add(hashlib.sha256(b"\x00a").digest() + hashlib.sha256(b"\x00b").digest())
    assert one.root() != two.root()


def test_record_hash_of_different_records_differs() -> None:
    records = [
        (1, b"ab", b"c"),
        (1, b"a", b"bc"),
        (1, b"", b"abc"),
        (1, None, b"abc"),
        (1, b"abc", b""),
        (1, b"abc", None),
        (2, b"ab", b"c"),
        (1, None, None),
        (1, b"", b""),
    ]
    assert len({record_hash(*record) for record in records}) == len(records)


def test_first_hash_of_different_chains_differs() -> None:
    assert (
        len({first_hash("orders", 0), first_hash("orders", 1), first_hash("orders-1", 0), first_hash("nbbo", 0)}) == 4
    )


@pytest.mark.parametrize("offset", [7, 6, 0])
def test_append_of_an_offset_that_does_not_rise_is_refused_and_changes_nothing(offset: int) -> None:
    chain = AuditChain("orders", 3)
    chain.append(7, record_hash(7, b"k", b"v"))
    before = chain.snapshot()
    with pytest.raises(ChainOrderError, match=f"orders-3: offset {offset} comes after 7"):
        chain.append(offset, record_hash(offset, b"k", b"w"))
    assert chain.snapshot() == before


def test_close_block_after_records_gives_their_root_and_links_to_the_block_before() -> None:
    chain = AuditChain("orders", 0)
    assert chain.close_block() is None
    hashes = [record_hash(offset, b"k", b"v") for offset in (2, 3, 9, 10)]
    ends = [chain.append(offset, digest) for offset, digest in zip((2, 3, 9), hashes[:3], strict=True)]
    first = chain.close_block()
    assert first == Block(2, 9, 3, _root_by_definition(hashes[:3]), ends[-1], None)
    last = chain.append(10, hashes[3])
    assert chain.close_block() == Block(10, 10, 1, _root_by_definition(hashes[3:]), last, first.merkle_root)


def test_restore_at_any_point_goes_on_as_if_nothing_had_happened() -> None:
    seed = 20131007
    print(f"seed {seed}")
    chance = random.Random(seed)
    straight, restored, offset = AuditChain("orders", 2), AuditChain("orders", 2), 0
    for _ in range(300):
        offset += chance.randrange(1, 4)
        digest = record_hash(offset, b"k", chance.randbytes(9))
        assert straight.append(offset, digest) == restored.append(offset, digest)
        if chance.random() < 0.1:
            assert straight.close_block() == restored.close_block()
        other = AuditChain("orders", 2)
        other.restore(restored.snapshot())
        restored = other
    assert straight.snapshot() == restored.snapshot()


def test_restore_of_another_chain_or_of_damage_is_refused_and_changes_nothing() -> None:
    chain, other = AuditChain("orders", 2), AuditChain("orders", 1)
    other.append(5, record_hash(5, None, b"v"))
    before, state = chain.snapshot(), other.snapshot()
    with pytest.raises(StateError, match="chain orders-1 given to orders-2"):
        chain.restore(state)
    with pytest.raises(StateError, match="checksum"):
        chain.restore(state[:-5] + bytes([state[-5] ^ 1]) + state[-4:])
    assert chain.snapshot() == before
