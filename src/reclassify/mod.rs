//! The third stage: every lesion is shown to a second network on shuffled patches; false
//! positives go, labels are corrected (Eq. 8-11).
//!
//! Owns the four shuffle schemes, the score and the vote. Refuses to know gains, verdicts
//! and files.
