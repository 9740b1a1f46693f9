// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.0;

interface Vm {
    function startBroadcast() external;
}

/// Pays one coin and then two more, in two transactions.
contract Pay {
    Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function run(address to) external {
        vm.startBroadcast();
        pay(to, 1 ether);
        pay(to, 2 ether);
    }

    function pay(address to, uint256 amount) private {
        (bool paid, ) = to.call{value: amount}("");
        require(paid);
    }
}
