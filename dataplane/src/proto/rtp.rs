//! RTP between two legs: sources, directions, silence.
