//! Property strings (`net0`, `agent`, `boot`, `memory`, `machine`, ...): one reader driven by tables of sub-keys.
