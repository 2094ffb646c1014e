//! bench of Turgo.
