//! net of Turgo.

pub mod records;
