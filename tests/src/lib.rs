//! The simulated world and the peers that the tests of the relay are made of.
