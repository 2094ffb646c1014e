//! The `turgo` command.

fn main() {}
