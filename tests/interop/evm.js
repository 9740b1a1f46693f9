// The chain and the cluster that the tests of the gateway run in.

"use strict";

const { execFileSync } = require("node:child_process");
const { readFileSync } = require("node:fs");
const path = require("node:path");
const { Contract, ContractFactory, JsonRpcProvider, getAddress, parseEther } = require("ethers");

const CHAIN_ID = 31337n;
const GATEWAY = process.env.ETH_RPC_URL;
const ANVIL = process.env.ANVIL_URL;
const RECIPIENT = getAddress("0x00000000000000000000000000000000000a11ce");
/** An account of nobody here. */
const STRANGER = getAddress("0x7e5f4552091a69125d5dfcb7b8c2659029395bdf");

// The codes of the gateway's errors.
const DENIED = 4001;
const UNAUTHORIZED = 4100;
const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;

const TOKEN = {
  interface: [
    "function transfer(address to, uint256 amount) returns (bool)",
    "function balanceOf(address holder) view returns (uint256)",
    "event Transfer(address indexed from, address indexed to, uint256 amount)",
  ],
  creation:
    "0x" +
    readFileSync(path.join(__dirname, "token.hex"), "utf8")
      .replace(/#.*/g, "")
      .replace(/\s/g, ""),
  supply: 10n ** 24n,
};

/** A provider that asks often, and forgets answers at once. */
function provider(url) {
  return new JsonRpcProvider(url, undefined, { pollingInterval: 50, cacheTimeout: -1 });
}

/** The account that the gateway serves, as the command line tells it. */
function account() {
  const shown = execFileSync("quorate", [
    ...["key", "address", "demo-evm", "--chain", "ethereum", "-o", "json"],
  ]);
  return JSON.parse(shown).address;
}

/** Gives the account coins, past the gateway. */
async function fund(anvil, address) {
  await anvil.send("anvil_setBalance", [address, "0x" + parseEther("100").toString(16)]);
}

/** Makes a token, past the gateway, and gives all of it to an account. */
async function makeToken(anvil, holder) {
  const rich = await anvil.getSigner(0);
  const made = await new ContractFactory(TOKEN.interface, TOKEN.creation, rich).deploy();
  await made.waitForDeployment();
  await (await made.transfer(holder, TOKEN.supply)).wait();
  return new Contract(await made.getAddress(), TOKEN.interface, anvil);
}

module.exports = {
  ANVIL,
  CHAIN_ID,
  DENIED,
  GATEWAY,
  INVALID_PARAMS,
  METHOD_NOT_FOUND,
  RECIPIENT,
  STRANGER,
  TOKEN,
  UNAUTHORIZED,
  account,
  fund,
  makeToken,
  provider,
};
