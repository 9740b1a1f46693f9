// Where the programs of Foundry are.

"use strict";

const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };

/** A program of Foundry itself: what npm puts before it hides the status that it ends with. */
function program(name) {
  const architecture = ARCHITECTURES[process.arch] ?? process.arch;
  return require.resolve(`@foundry-rs/${name}-${process.platform}-${architecture}/bin/${name}`);
}

module.exports = { program };
