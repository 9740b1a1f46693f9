"""An ERC-20 token with `transfer`, `balanceOf` and the event `Transfer`, and nothing else.

A balance lies in the slot that has the holder's address as its number. Beside the bytes of the
instructions stands what they leave on the stack, the top last; no compiler had a part in them.
"""

SUPPLY = 10**24

RUNTIME = bytes.fromhex(
    "6000 35 60e0 1c"  # selector: the first 4 bytes of the input
    "80 63a9059cbb 14 601f 57"  # transfer(address,uint256): jump to 0x1f
    "63 70a08231 14 606e 57"  # balanceOf(address): jump to 0x6e
    # 0x19: anything else is refused
    "5b 6000 6000 fd"
    # 0x1f: transfer
    "5b 6024 35"  # selector, amount
    "33 54"  # selector, amount, held: by the caller
    "81 81 10 6019 57"  # refused if held < amount
    "81 90 03 33 55"  # selector, amount: the caller holds held - amount
    "6004 35"  # selector, amount, to
    "81 81 54 01"  # selector, amount, to, amount + held: by the recipient
    "81 55"  # selector, amount, to: the recipient holds that
    "90 6000 52"  # selector, to: the amount is in memory
    "33"  # selector, to, from
    "7f ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    "6020 6000 a3"  # selector: Transfer(from, to, amount) is logged
    "6001 6000 52 6020 6000 f3"  # returns true
    # 0x6e: balanceOf
    "5b 6004 35 54"  # held
    "6000 52 6020 6000 f3"  # returns it
)

CREATION = (
    bytes.fromhex(
        "69d3c21bcecceda1000000 33 55"  # whoever makes the contract holds the supply
        "607b 80 6018 6000 39"  # 0x7b: the so many bytes behind these 0x18 are in memory
        "6000 f3"  # returns them
    )
    + RUNTIME
)
