//! storage of Turgo.
