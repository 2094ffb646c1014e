//! engine of Turgo.
