//! The TypeScript world over small projects: what policies may do, and what they may not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod budgets;
mod contexts;
mod declarations;
mod failures;
mod gate;
mod handlers;
mod policies;
mod projects;
mod speed;
