mod framing;
mod shares;
