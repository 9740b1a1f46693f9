"""An EVM mines what the cluster signed, and eth_account finds who signed a message."""

import json
import unittest

import quorate
from embit import bip32
from eth_abi import decode, encode
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from eth_keys import keys
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils import to_checksum_address
from token_contract import CREATION, SUPPLY

ETHER = 10**18
GWEI = 10**9
RECIPIENT = to_checksum_address("0x" + 18 * "00" + "a11c")
TRANSFER = bytes.fromhex("a9059cbb")
BALANCE_OF = bytes.fromhex("70a08231")


def account(path: str) -> tuple[str, str]:
    """The key and the address of its child, derived without the cluster's help."""
    key = quorate.key("ecdsa-secp256k1")
    child = bip32.HDKey.from_string(quorate.xpub(key)).derive(path)
    public = keys.PublicKey.from_compressed_bytes(child.key.sec())
    return key, public.to_checksum_address()


class Chain:
    """A test chain of one node, and its first funded account."""

    def __init__(self) -> None:
        self.backend = PyEVMBackend()
        self.tester = EthereumTester(self.backend)
        self.rich = self.tester.get_accounts()[0]

    def do(self, **fields) -> dict:
        fields = {"from": self.rich, "gas": 1_000_000, **fields}
        return self.tester.get_transaction_receipt(self.tester.send_transaction(fields))

    def send(self, raw: str) -> dict:
        return self.tester.get_transaction_receipt(self.tester.send_raw_transaction(raw))

    def transaction(self, sender: str, **fields) -> dict:
        """The parameter of eth_signTransaction."""
        return {
            "chainId": hex(self.backend.chain.chain_id),
            "nonce": hex(self.tester.get_nonce(sender)),
            "gas": hex(100_000),
            "maxFeePerGas": hex(10 * GWEI),
            "maxPriorityFeePerGas": hex(GWEI),
            "value": "0x0",
            **fields,
        }


def sign(key: str, path: str, transaction: dict) -> dict:
    content = json.dumps(transaction).encode()
    return quorate.run("sign", "evm-tx", key, "--path", path, content=content)


class Transactions(unittest.TestCase):
    path = "m/0/5"

    def setUp(self) -> None:
        self.chain = Chain()
        self.key, self.sender = account(self.path)
        self.chain.do(to=self.sender, value=10 * ETHER)

    def test_a_transfer_is_mined(self) -> None:
        transaction = self.chain.transaction(
            self.sender, to=RECIPIENT, value=hex(3 * ETHER), **{"from": self.sender}
        )

        signed = sign(self.key, self.path, transaction)
        receipt = self.chain.send(signed["raw"])

        self.assertEqual(signed["from"], self.sender)
        self.assertEqual(receipt["status"], 1)
        self.assertEqual(receipt["transaction_hash"], signed["hash"])
        self.assertEqual(receipt["type"], "0x2")
        self.assertEqual(receipt["from"], self.sender)
        self.assertEqual(self.chain.tester.get_balance(RECIPIENT), 3 * ETHER)

    def test_a_transfer_of_a_token_is_mined(self) -> None:
        token = self.chain.do(data="0x" + CREATION.hex())["contract_address"]
        call = TRANSFER + encode(["address", "uint256"], [self.sender, SUPPLY])
        self.chain.do(to=token, data="0x" + call.hex())
        call = TRANSFER + encode(["address", "uint256"], [RECIPIENT, 700])
        transaction = self.chain.transaction(self.sender, to=token, data="0x" + call.hex())

        signed = sign(self.key, self.path, transaction)
        receipt = self.chain.send(signed["raw"])

        self.assertEqual(signed["from"], self.sender)
        self.assertEqual(receipt["status"], 1)
        self.assertEqual(self.tokens(token, RECIPIENT), 700)
        self.assertEqual(self.tokens(token, self.sender), SUPPLY - 700)
        [log] = receipt["logs"]
        self.assertEqual(log["address"], token)
        self.assertEqual(int(log["topics"][1], 16), int(self.sender, 16))
        self.assertEqual(int(log["topics"][2], 16), int(RECIPIENT, 16))

    def test_more_tokens_than_there_are_do_not_move(self) -> None:
        """That the contract is one that can refuse."""
        token = self.chain.do(data="0x" + CREATION.hex())["contract_address"]
        call = TRANSFER + encode(["address", "uint256"], [RECIPIENT, SUPPLY + 1])

        with self.assertRaises(TransactionFailed):
            self.chain.tester.call(
                {"from": self.chain.rich, "to": token, "data": "0x" + call.hex()}
            )

    def tokens(self, token: str, holder: str) -> int:
        call = BALANCE_OF + encode(["address"], [holder])
        answer = self.chain.tester.call(
            {"from": self.chain.rich, "to": token, "data": "0x" + call.hex()}
        )
        return decode(["uint256"], bytes.fromhex(answer.removeprefix("0x")))[0]


class Messages(unittest.TestCase):
    path = "m/1/2"

    def setUp(self) -> None:
        self.key, self.signer = account(self.path)

    def test_a_personal_message_names_its_signer(self) -> None:
        text = b"withdraw to the cold wallet"

        signed = quorate.run(
            "sign", "evm-message", self.key, "--path", self.path, option="--file", content=text
        )

        recovered = Account.recover_message(
            encode_defunct(text), signature=signed["signature"]
        )
        self.assertEqual(recovered, self.signer)
        self.assertEqual(signed["from"], self.signer)

    def test_typed_data_names_its_signer(self) -> None:
        permit = {
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                "Permit": [
                    {"name": "owner", "type": "address"},
                    {"name": "spender", "type": "address"},
                    {"name": "value", "type": "uint256"},
                    {"name": "tags", "type": "string[]"},
                ],
            },
            "primaryType": "Permit",
            "domain": {"name": "Token", "chainId": 1, "verifyingContract": RECIPIENT},
            "message": {
                "owner": self.signer,
                "spender": RECIPIENT,
                "value": 12_345,
                "tags": ["a", "b"],
            },
        }
        content = json.dumps(permit).encode()

        signed = quorate.run(
            "sign", "typed-data", self.key, "--path", self.path, content=content
        )

        recovered = Account.recover_message(
            encode_typed_data(full_message=permit), signature=signed["signature"]
        )
        self.assertEqual(recovered, self.signer)
        self.assertEqual(signed["from"], self.signer)
