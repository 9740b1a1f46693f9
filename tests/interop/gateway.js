// Starts a chain of one node and a cluster whose gateway has it for its upstream, runs the tests of
// the gateway in them, and ends both, however it is ended itself.

"use strict";

const { spawn } = require("node:child_process");
const path = require("node:path");
const readline = require("node:readline");
const { program } = require("./foundry.js");

const PATIENCE_MS = 30_000;

/** Starts anvil on a free port. It ends when the pipe to its shell closes, so with us. */
async function startAnvil() {
  const script = '"$0" --port 0 & read -r _; kill "$!"; wait "$!"';
  const shell = spawn("sh", ["-c", script, program("anvil")], {
    detached: true, // Ctrl-C is for us, and we close the pipe.
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => shell.once("close", resolve));
  const lines = readline.createInterface({ input: shell.stdout });
  const url = await new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error("anvil does not start")), PATIENCE_MS);
    lines.on("line", (line) => {
      const [, address] = line.match(/^Listening on (127\.0\.0\.1:\d+)$/) ?? [];
      if (address) {
        clearTimeout(deadline);
        resolve(`http://${address}`);
      }
    });
  });
  const end = () => {
    shell.stdin.end();
    return ended;
  };
  return { url, end };
}

/** Runs the tests in a cluster, and returns their status. */
async function runTests(anvil) {
  const tests = path.join(__dirname, "gateway_tests.js");
  const command = `exec '${process.execPath}' --test-reporter=spec '${tests}'`;
  const cluster = spawn(
    "quorate",
    ["dev", "--gateway", "--gateway-upstream", anvil.url, "--exec", command],
    { stdio: "inherit", env: { ...process.env, ANVIL_URL: anvil.url } },
  );
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => cluster.kill("SIGTERM"));
  }
  return new Promise((resolve, reject) => {
    cluster.once("error", reject);
    cluster.once("exit", (code) => resolve(code ?? 1));
  });
}

async function main() {
  const anvil = await startAnvil();
  try {
    process.exitCode = await runTests(anvil);
  } finally {
    await anvil.end();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
