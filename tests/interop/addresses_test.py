"""A watch-only wallet derives from the extended key alone what the cluster says it receives at."""

import random
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, NamedTuple

import quorate
from embit import bip32, script
from embit.networks import NETWORKS
from eth_keys import keys

PATHS = 1_000


def taproot(child: bip32.HDKey) -> str:
    return script.p2tr(child.key).address(NETWORKS["main"])


def segwit(child: bip32.HDKey) -> str:
    return script.p2wpkh(child.key).address(NETWORKS["main"])


def ethereum(child: bip32.HDKey) -> str:
    return keys.PublicKey.from_compressed_bytes(child.key.sec()).to_checksum_address()


class Kind(NamedTuple):
    """A kind of address, and who else derives it."""

    scheme: str
    chain: str
    derive: Callable[[bip32.HDKey], str]


KINDS = [
    Kind("bip340", "bitcoin", taproot),
    Kind("ecdsa-secp256k1", "bitcoin", segwit),
    Kind("ecdsa-secp256k1", "ethereum", ethereum),
]


def random_path(source: random.Random) -> str:
    steps = [source.randrange(2**31) for _ in range(source.randint(1, 5))]
    return "/".join(["m", *map(str, steps)])


class Addresses(unittest.TestCase):
    maxDiff = None

    def check(self, kind: Kind) -> None:
        name = quorate.key(kind.scheme)
        account = bip32.HDKey.from_string(quorate.xpub(name))

        def told(path: str) -> str:
            shown = quorate.run("key", "address", name, "--path", path, "--chain", kind.chain)
            return shown["address"]

        try:
            told("m")
        except quorate.Refused as refused:
            # What is not there yet says so; anything else is wrong.
            if "invalid value" in str(refused) or "[SCHEME_MISMATCH]" in str(refused):
                self.skipTest(f"key address has no {kind.chain} for {kind.scheme}: {refused}")
            raise
        source = random.Random(f"{kind.scheme} {kind.chain}")
        paths = [random_path(source) for _ in range(PATHS)]
        with ThreadPoolExecutor(4) as pool:
            addresses = dict(zip(paths, pool.map(told, paths), strict=True))

        derived = {path: kind.derive(account.derive(path)) for path in paths}

        self.assertEqual(len(addresses), PATHS)
        self.assertEqual(addresses, derived)

    def test_taproot_addresses_are_those_of_the_extended_key(self) -> None:
        self.check(KINDS[0])

    def test_segwit_addresses_are_those_of_the_extended_key(self) -> None:
        self.check(KINDS[1])

    def test_ethereum_addresses_are_those_of_the_extended_key(self) -> None:
        self.check(KINDS[2])


if __name__ == "__main__":
    unittest.main()
