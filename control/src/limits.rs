//! Every maximum of the control plane.
