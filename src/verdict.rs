//! From the lesions of the base and the high view to one patient verdict (Eq. 12 and the
//! joint decision).
//!
//! Owns the patient class, the verdict and the alert level. Knows lesion types, nothing else.
