//! LivOS.
fn main() {}
