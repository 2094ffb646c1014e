//! tuning of Turgo.
