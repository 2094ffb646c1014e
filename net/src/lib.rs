//! net of Turgo.
