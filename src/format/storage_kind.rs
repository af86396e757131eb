//! The table of storage kinds: properties, content, formats, features (pve-storage 1.5, 3.1); data, no behaviour.
