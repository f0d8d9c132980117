//! One label per lesion by volume ("single lesion label from volume-based voting").

use hepalert_study::anatomy::Lesion;

/// The type with the most votes. A tie goes to `before` if it is among the tied, otherwise
/// to the most urgent of them; without any vote the label stays.
pub(crate) fn vote(votes: [u64; Lesion::ALL.len()], before: Lesion) -> Lesion {
    let most = votes.iter().copied().max().unwrap_or(0);
    let of = |kind: Lesion| votes[usize::from(kind.label()) - 1];
    if of(before) == most {
        return before;
    }
    Lesion::ALL.into_iter().find(|&kind| of(kind) == most).unwrap_or(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_decides_and_ties_keep_or_take_the_urgent() {
        assert_eq!(vote([0, 0, 5, 0, 0, 2], Lesion::Cyst), Lesion::Meta);
        assert_eq!(vote([0, 0, 5, 0, 0, 5], Lesion::Cyst), Lesion::Cyst);
        assert_eq!(vote([0, 4, 4, 0, 0, 1], Lesion::Cyst), Lesion::Icc);
        assert_eq!(vote([0; 6], Lesion::Hem), Lesion::Hem);
    }
}
