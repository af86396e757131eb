//! Unit tests of the dir backend that need its insides.
