//! House rules as tests (filled in by the integrator).
