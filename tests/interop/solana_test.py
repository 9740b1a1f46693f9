"""A Solana virtual machine executes what an ed25519 key of the cluster signed."""

import base64
import unittest

import quorate
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

SOL = 10**9
FEE = 5_000


class Transfers(unittest.TestCase):
    def setUp(self) -> None:
        self.key = quorate.key("ed25519")
        self.machine = LiteSVM()
        self.recipient = Keypair().pubkey()

    def sender(self, path: str) -> Pubkey:
        shown = quorate.run("key", "address", self.key, "--chain", "solana", "--path", path)
        return Pubkey.from_string(shown["address"])

    def blockhash(self) -> Hash:
        return self.machine.latest_blockhash()

    def assert_moves(self, path: str, sender: Pubkey, message: bytes) -> None:
        self.machine.airdrop(sender, 10 * SOL)
        signed = quorate.run("sign", "solana", self.key, "--path", path, content=message)
        transaction = VersionedTransaction.from_bytes(base64.b64decode(signed["transaction"]))

        executed = self.machine.send_transaction(transaction)

        self.assertNotIsInstance(executed, FailedTransactionMetadata, str(executed))
        self.assertEqual(self.machine.get_balance(self.recipient), 3 * SOL)
        self.assertEqual(self.machine.get_balance(sender), 7 * SOL - FEE)

    def test_a_transfer_in_a_legacy_message_is_executed(self) -> None:
        sender = self.sender("m")
        pay = transfer(
            TransferParams(from_pubkey=sender, to_pubkey=self.recipient, lamports=3 * SOL)
        )
        message = Message.new_with_blockhash([pay], sender, self.blockhash())

        self.assert_moves("m", sender, bytes(message))

    def test_a_transfer_of_a_child_in_a_versioned_message_is_executed(self) -> None:
        sender = self.sender("m/0/7")
        pay = transfer(
            TransferParams(from_pubkey=sender, to_pubkey=self.recipient, lamports=3 * SOL)
        )
        message = MessageV0.try_compile(sender, [pay], [], self.blockhash())

        self.assert_moves("m/0/7", sender, to_bytes_versioned(message))

    def test_a_changed_transaction_is_not_executed(self) -> None:
        sender = self.sender("m")
        self.machine.airdrop(sender, 10 * SOL)
        pay = transfer(
            TransferParams(from_pubkey=sender, to_pubkey=self.recipient, lamports=3 * SOL)
        )
        message = bytes(Message.new_with_blockhash([pay], sender, self.blockhash()))
        signed = quorate.run("sign", "solana", self.key, content=message)
        changed = bytearray(base64.b64decode(signed["transaction"]))
        changed[-1] ^= 1

        executed = self.machine.send_transaction(VersionedTransaction.from_bytes(bytes(changed)))

        self.assertIsInstance(executed, FailedTransactionMetadata)
