mod framing;
mod resharing;
mod shares;
