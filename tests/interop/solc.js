#!/usr/bin/env node
// The compiler of npm as forge calls a compiler: `--version`, or JSON in and JSON out.

"use strict";

const { readFileSync } = require("node:fs");
const solc = require("solc");

if (process.argv.includes("--version")) {
  console.log(`Version: ${solc.version()}`);
} else {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
}
