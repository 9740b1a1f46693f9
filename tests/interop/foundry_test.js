// Foundry's cast and forge, which know nothing of Quorate, with the gateway for their node.

"use strict";

const assert = require("node:assert/strict");
const { execFile } = require("node:child_process");
const { copyFileSync, mkdirSync, mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const { promisify } = require("node:util");
const { Transaction, parseEther, verifyTypedData } = require("ethers");
const evm = require("./evm.js");
const { program } = require("./foundry.js");

const run = promisify(execFile);
const AT_GATEWAY = ["--rpc-url", evm.GATEWAY];

/** Runs cast, and returns what it prints. */
async function cast(...args) {
  const { stdout } = await run(program("cast"), args);
  return stdout.trim();
}

describe("Foundry through the gateway", () => {
  let anvil, account, send;

  before(async () => {
    anvil = evm.provider(evm.ANVIL);
    account = evm.account();
    await evm.fund(anvil, account);
    send = ["send", "--unlocked", "--from", account, ...AT_GATEWAY, "--json"];
  });

  after(() => anvil.destroy());

  it("finds the one account, and the chain", async () => {
    assert.deepEqual(JSON.parse(await cast("rpc", "eth_accounts", ...AT_GATEWAY)), [account]);
    assert.equal(await cast("chain-id", ...AT_GATEWAY), String(evm.CHAIN_ID));
  });

  it("sends transfers that are mined", async () => {
    for (const [said, type] of [[[], "0x2"], [["--legacy"], "0x0"]]) {
      const receipt = await moves("1", () =>
        cast(...send, ...said, "--value", "1ether", evm.RECIPIENT),
      );

      assert.equal(receipt.type, type);
    }
  });

  it("moves tokens", async () => {
    const token = await evm.makeToken(anvil, account);
    const call = ["transfer(address,uint256)", evm.RECIPIENT, "700"];

    const receipt = JSON.parse(await cast(...send, await token.getAddress(), ...call));

    assert.equal(receipt.status, "0x1");
    assert.equal(await token.balanceOf(evm.RECIPIENT), 700n);
    assert.equal(await token.balanceOf(account), evm.TOKEN.supply - 700n);
  });

  it("has a transaction signed, and publishes it later", async () => {
    const signed = ["mktx", "--ethsign", "--from", account, ...AT_GATEWAY];

    const raw = await cast(...signed, "--value", "1ether", evm.RECIPIENT);

    assert.equal(Transaction.from(raw).from, account);
    await moves("1", () => cast("publish", "--json", ...AT_GATEWAY, raw));
  });

  it("has a message signed that it verifies", async () => {
    const message = "0x68656c6c6f";

    const signature = await cast("rpc", "personal_sign", message, account, ...AT_GATEWAY);

    await cast("wallet", "verify", "--address", account, "hello", JSON.parse(signature));
    const other = cast("wallet", "verify", "--address", account, "hullo", JSON.parse(signature));
    await assert.rejects(other);
  });

  it("has typed data signed that it verifies", async () => {
    const types = { Mail: [{ name: "contents", type: "string" }] };
    const domain = { name: "Ether Mail", chainId: Number(evm.CHAIN_ID) };
    const message = { contents: "Hello, Bob!" };
    const ofDomain = [{ name: "name", type: "string" }, { name: "chainId", type: "uint256" }];
    const document = JSON.stringify({
      types: { EIP712Domain: ofDomain, ...types },
      primaryType: "Mail",
      domain,
      message,
    });

    const told = await cast("rpc", "eth_signTypedData_v4", account, document, ...AT_GATEWAY);

    const signature = JSON.parse(told);
    await cast("wallet", "verify", "--data", "--address", account, document, signature);
    assert.equal(verifyTypedData(domain, types, message, signature), account);
  });

  it("broadcasts a script", async () => {
    const project = mkdtempSync(path.join(tmpdir(), "quorate-interop-"));
    try {
      mkdirSync(path.join(project, "script"));
      copyFileSync(path.join(__dirname, "Pay.s.sol"), path.join(project, "script/Pay.s.sol"));
      const compiler = ["--use", path.join(__dirname, "solc.js"), "--offline"];
      const script = ["script/Pay.s.sol", "--sig", "run(address)", evm.RECIPIENT];
      const before = await anvil.getBalance(evm.RECIPIENT);

      await run(
        program("forge"),
        [
          ...["script", ...script, ...compiler, ...AT_GATEWAY],
          ...["--unlocked", "--sender", account, "--broadcast"],
        ],
        { cwd: project },
      );

      assert.equal((await anvil.getBalance(evm.RECIPIENT)) - before, parseEther("3"));
    } finally {
      rmSync(project, { recursive: true });
    }
  });

  it("is refused an account that is not configured, also one that the chain would unlock", async () => {
    const rich = (await anvil.getSigner(0)).address;
    for (const other of [evm.STRANGER, rich]) {
      const count = await anvil.getTransactionCount(other);
      const transfer = ["--unlocked", "--from", other, ...AT_GATEWAY, "--value", "0"];

      for (const call of [
        ["send", ...transfer, evm.RECIPIENT],
        ["rpc", "personal_sign", "0x00", other, ...AT_GATEWAY],
      ]) {
        await refused(evm.UNAUTHORIZED, "is not served here", call);
      }

      assert.equal(await anvil.getTransactionCount(other), count);
    }
  });

  it("is refused a transaction for another chain", async () => {
    const count = await anvil.getTransactionCount(account);
    const other = ["--chain", "1", "--from", account, ...AT_GATEWAY, "--value", "1"];
    const transfer = { from: account, to: evm.RECIPIENT, value: "0x1", chainId: "0x1" };

    for (const call of [
      ["mktx", "--ethsign", ...other, evm.RECIPIENT],
      ["rpc", "eth_sendTransaction", JSON.stringify(transfer), ...AT_GATEWAY],
    ]) {
      await refused(evm.INVALID_PARAMS, "for chain 1,", call);
    }
    // Before it sends, cast asks the account to go to the other chain.
    const call = ["send", "--unlocked", ...other, evm.RECIPIENT];
    await refused(evm.METHOD_NOT_FOUND, "wallet_switchEthereumChain", call);

    assert.equal(await anvil.getTransactionCount(account), count);
  });

  it("is refused a call that nobody can read", async () => {
    const count = await anvil.getTransactionCount(account);

    await refused(evm.DENIED, "is blind", [...send, evm.RECIPIENT, "frobnicate(uint256)", "7"]);

    assert.equal(await anvil.getTransactionCount(account), count);
  });

  /** Checks that so many coins arrive, and returns the receipt that is printed. */
  async function moves(coins, act) {
    const before = await anvil.getBalance(evm.RECIPIENT);

    const receipt = JSON.parse(await act());

    assert.equal(receipt.status, "0x1");
    assert.equal((await anvil.getBalance(evm.RECIPIENT)) - before, parseEther(coins));
    return receipt;
  }

  /** Checks that cast ends with the gateway's refusal. */
  async function refused(code, says, args) {
    await assert.rejects(cast(...args), (error) => {
      assert.ok(error.stderr.includes(`error code ${code}`), error.stderr);
      assert.ok(error.stderr.includes(says), error.stderr);
      return true;
    });
  }
});
