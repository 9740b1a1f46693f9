// ethers, which knows nothing of Quorate, with the gateway where it expects an Ethereum node.

"use strict";

const assert = require("node:assert/strict");
const { after, before, describe, it } = require("node:test");
const {
  Contract,
  JsonRpcSigner,
  Transaction,
  TypedDataEncoder,
  getBytes,
  parseEther,
  parseUnits,
  verifyMessage,
  verifyTypedData,
} = require("ethers");
const evm = require("./evm.js");

const DOMAIN = {
  name: "Token",
  version: "1",
  chainId: evm.CHAIN_ID,
  verifyingContract: evm.RECIPIENT,
};
const TYPES = {
  Person: [
    { name: "name", type: "string" },
    { name: "wallets", type: "address[]" },
  ],
  Order: [
    { name: "maker", type: "Person" },
    { name: "takers", type: "Person[2]" },
    { name: "amount", type: "uint256" },
    { name: "change", type: "int64" },
    { name: "salt", type: "bytes32" },
    { name: "note", type: "bytes" },
    { name: "partial", type: "bool" },
  ],
};
const ALICE = { name: "Alice", wallets: [evm.RECIPIENT, evm.STRANGER] };
const BOB = { name: "Bob", wallets: [] };
const ORDER = {
  maker: ALICE,
  takers: [BOB, ALICE],
  amount: 2n ** 255n + 1n,
  change: -7n,
  salt: "0x" + "5a".repeat(32),
  note: "0x00ff",
  partial: true,
};

describe("ethers through the gateway", () => {
  let anvil, gateway, account, signer;

  before(async () => {
    anvil = evm.provider(evm.ANVIL);
    gateway = evm.provider(evm.GATEWAY);
    account = evm.account();
    await evm.fund(anvil, account);
    signer = await gateway.getSigner(account);
  });

  after(() => [anvil, gateway].forEach((provider) => provider.destroy()));

  it("finds the one account, and the chain", async () => {
    const accounts = await gateway.listAccounts();

    assert.deepEqual(accounts.map((found) => found.address), [account]);
    assert.equal((await gateway.getNetwork()).chainId, evm.CHAIN_ID);
  });

  it("signs messages of which the account is recovered", async () => {
    for (const message of ["withdraw to the cold wallet", "0x1234", "", getBytes("0x00ff80")]) {
      const signature = await signer.signMessage(message);

      assert.equal(verifyMessage(message, signature), account);
    }
  });

  it("signs only messages by eth_sign, and never a digest", async () => {
    const digest = getBytes(TypedDataEncoder.hash(DOMAIN, TYPES, ORDER));

    const signature = await signer._legacySignMessage(digest);

    assert.equal(verifyMessage(digest, signature), account);
  });

  it("signs typed data of which the account is recovered", async () => {
    const signature = await signer.signTypedData(DOMAIN, TYPES, ORDER);

    assert.equal(verifyTypedData(DOMAIN, TYPES, ORDER, signature), account);
  });

  it("sends a transfer of EIP-1559 that is mined", async () => {
    const fees = {
      maxFeePerGas: parseUnits("30", "gwei"),
      maxPriorityFeePerGas: parseUnits("2", "gwei"),
    };

    const receipt = await transfers({ type: 2, ...fees });

    const mined = await anvil.getTransaction(receipt.hash);
    assert.equal(mined.type, 2);
    assert.equal(mined.maxFeePerGas, fees.maxFeePerGas);
    assert.equal(mined.maxPriorityFeePerGas, fees.maxPriorityFeePerGas);
  });

  it("sends transfers that leave out what the chain knows", async () => {
    for (const [said, type] of [[{}, 2], [{ type: 0 }, 0], [{ type: 1, accessList: [] }, 1]]) {
      const receipt = await transfers(said);

      assert.equal((await anvil.getTransaction(receipt.hash)).type, type);
    }
  });

  it("sends several transfers in one batch, each with a nonce of its own", async () => {
    const first = await anvil.getTransactionCount(account);
    const transfer = { to: evm.RECIPIENT, value: 1n };

    const sent = await Promise.all([1, 2, 3].map(() => signer.sendTransaction(transfer)));

    const receipts = await Promise.all(sent.map((one) => one.wait()));
    assert.deepEqual(receipts.map((receipt) => receipt.status), [1, 1, 1]);
    assert.deepEqual(
      sent.map((one) => one.nonce).sort(),
      [first, first + 1, first + 2],
    );
  });

  it("has a transaction signed, and sends it later", async () => {
    const before = await anvil.getBalance(evm.RECIPIENT);

    const raw = await signer.signTransaction({ to: evm.RECIPIENT, value: 5n });

    assert.equal(Transaction.from(raw).from, account);
    const receipt = await (await gateway.broadcastTransaction(raw)).wait();
    assert.equal(receipt.status, 1);
    assert.equal((await anvil.getBalance(evm.RECIPIENT)) - before, 5n);
  });

  it("moves tokens through a contract", async () => {
    const made = await evm.makeToken(anvil, account);
    const token = new Contract(await made.getAddress(), evm.TOKEN.interface, signer);

    const receipt = await (await token.transfer(evm.RECIPIENT, 700n)).wait();

    assert.equal(receipt.status, 1);
    assert.equal(await made.balanceOf(evm.RECIPIENT), 700n);
    assert.equal(await token.balanceOf(account), evm.TOKEN.supply - 700n);
    const [moved] = await token.queryFilter(token.filters.Transfer(account), receipt.blockNumber);
    assert.deepEqual([...moved.args], [account, evm.RECIPIENT, 700n]);
  });

  it("is refused an account that is not configured, also one that the chain would unlock", async () => {
    const rich = (await anvil.getSigner(0)).address;
    for (const other of [evm.STRANGER, rich]) {
      const stranger = new JsonRpcSigner(gateway, other);
      const count = await anvil.getTransactionCount(other);
      const transfer = { to: evm.RECIPIENT, value: 0n };

      for (const act of [
        () => stranger.signMessage("hello"),
        () => stranger.signTypedData(DOMAIN, TYPES, ORDER),
        () => stranger.signTransaction(transfer),
        () => stranger.sendTransaction(transfer),
      ]) {
        await refused(evm.UNAUTHORIZED, /is not served here/, act());
      }
      await assert.rejects(gateway.getSigner(other), /invalid account/);
      assert.equal(await anvil.getTransactionCount(other), count);
    }
  });

  it("is refused a transaction for another chain", async () => {
    const transfer = { to: evm.RECIPIENT, value: 1n, chainId: 1n };
    const count = await anvil.getTransactionCount(account);

    await refused(evm.INVALID_PARAMS, /for chain 1,/, signer.sendTransaction(transfer));

    assert.equal(await anvil.getTransactionCount(account), count);
  });

  it("is refused a call that nobody can read", async () => {
    const blind = { to: evm.RECIPIENT, data: "0xdeadbeef" + "00".repeat(32) };
    const count = await anvil.getTransactionCount(account);

    await refused(evm.DENIED, /is blind/, signer.sendTransaction(blind));

    assert.equal(await anvil.getTransactionCount(account), count);
  });

  it("is refused what manages the upstream", async () => {
    for (const [method, params] of [
      ["anvil_setBalance", [account, "0x0"]],
      ["anvil_impersonateAccount", [evm.STRANGER]],
      ["personal_unlockAccount", [account, ""]],
    ]) {
      await refused(evm.METHOD_NOT_FOUND, /is not served here/, gateway.send(method, params));
    }
  });

  /** Sends one coin to the recipient and checks that it arrives. */
  async function transfers(said) {
    const value = parseEther("1");
    const before = await anvil.getBalance(evm.RECIPIENT);

    const sent = await signer.sendTransaction({ to: evm.RECIPIENT, value, ...said });
    const receipt = await sent.wait();

    assert.equal(receipt.status, 1);
    assert.equal(receipt.from, account);
    assert.equal((await anvil.getBalance(evm.RECIPIENT)) - before, value);
    return receipt;
  }

  /** Checks that the gateway refuses with this code, as ethers hands it on. */
  async function refused(code, says, outcome) {
    await assert.rejects(outcome, (error) => {
      const told = error.error ?? error.info?.error;
      assert.equal(told?.code, code, String(error));
      assert.match(told.message, says);
      return true;
    });
  }
});
