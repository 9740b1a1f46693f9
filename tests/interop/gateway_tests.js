// All tests of the gateway, one after the other: they share its one account.

"use strict";

require("./ethers_test.js");
require("./foundry_test.js");
