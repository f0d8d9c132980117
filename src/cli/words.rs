//! Words that options take: listed in help and in refusals, and completed by shells.

use std::error::Error;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::config::Role;
use hepalert_bundles::slots::Slot;
use hepalert_engines::backend::{Backend, Precision};
use hepalert_study::phase::{Phase, Setting};
use hepalert_voxels::image::components::InPlane;

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

/// A whole number between two.
pub(super) fn number<T>(range: RangeInclusive<T>) -> impl TypedValueParser<Value = T>
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (least, most) = (range.start(), range.end());
        number.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
    }
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

/// The precisions that a TensorRT plan is built in.
pub(super) fn plan_precisions() -> impl TypedValueParser<Value = Precision> {
    one_of([Precision::F32, Precision::F16].map(|precision| PossibleValue::new(precision.name())))
}

/// The two slots that engines are installed into.
pub(super) fn slots() -> impl TypedValueParser<Value = Slot> {
    one_of(Slot::ALL.map(|slot| PossibleValue::new(slot.name())))
}

/// Which neighbours of a voxel within a slice touch it.
pub(super) fn neighbours() -> impl TypedValueParser<Value = InPlane> {
    PossibleValuesParser::new([
        PossibleValue::new("4").help("edges only"),
        PossibleValue::new("8").help("edges and corners"),
    ])
    .map(|word| if word == "4" { InPlane::Four } else { InPlane::Eight })
}

/// What people who open the page may do.
pub(super) fn roles() -> impl TypedValueParser<Value = Role> {
    one_of([
        PossibleValue::new("viewer").help("look"),
        PossibleValue::new("annotator").help("and change labels, and requeue studies"),
        PossibleValue::new("admin").help("and install engines"),
    ])
}

/// What a study is read for; sets of phases by their codes are taken too, and not offered.
pub(super) fn settings() -> impl TypedValueParser<Value = Setting> {
    one_of(Setting::ALL.map(|setting| {
        let value = PossibleValue::new(setting.name());
        match setting {
            Setting::Screening => value.help("one native phase"),
            Setting::Diagnosis => value.help("native, arterial, portal venous and delayed"),
            Setting::Venous => value.help("one portal venous phase"),
            _ => value.hide(true),
        }
    }))
}
