//! Wires the parts into a running house. Owns the seams between siblings that must not know
//! each other.

pub mod bridge;
