//! Words that options take: listed in help and in refusals, and completed by shells.

use std::error::Error;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use hepalert_engines::backend::{Backend, Precision};
use hepalert_study::phase::Phase;

/// One of these names, read as what it stands for.
pub(super) fn one_of<T>(
    names: impl IntoIterator<Item = PossibleValue>,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: Into<Box<dyn Error + Send + Sync + 'static>>,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

/// What runs networks; a backend that is not in this program is taken, so that it can be told,
/// but not offered.
pub(super) fn backends() -> impl TypedValueParser<Value = Backend> {
    one_of(Backend::ALL.map(|backend| {
        let absent = match backend {
            Backend::Tract => !cfg!(feature = "tract"),
            Backend::OpenVino => !cfg!(feature = "openvino"),
            Backend::Native | Backend::TensorRt => false,
        };
        PossibleValue::new(backend.name()).hide(absent)
    }))
}

/// The numbers that networks are computed in.
pub(super) fn precisions() -> impl TypedValueParser<Value = Precision> {
    one_of(Precision::ALL.map(|precision| PossibleValue::new(precision.name())))
}

/// The four contrast phases.
pub(super) fn phases() -> impl TypedValueParser<Value = Phase> {
    one_of(Phase::ALL.map(|phase| {
        PossibleValue::new(phase.code()).help(match phase {
            Phase::Nc => "native",
            Phase::Ap => "arterial",
            Phase::Vp => "portal venous",
            Phase::Dp => "delayed",
        })
    }))
}
