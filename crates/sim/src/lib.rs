//! A simulated Quorate cluster from one seed; never shipped.
