//! What the files of a result are called; every command and the page look for them by these names.

/// The report.
pub const REPORT: &str = "report.json";
/// Label map of the base view.
pub const LABELS_BASE: &str = "labels_base.nii.gz";
/// Label map of the high-sensitivity view.
pub const LABELS_HIGH: &str = "labels_high.nii.gz";
/// Findings by their number in the report.
pub const LESIONS: &str = "lesions.nii.gz";
/// Margin between the lesion classes and the others, from which every gain is read.
pub const MARGIN: &str = "margin.nii.gz";

/// The object that every result with DICOM objects has.
pub const SEGMENTATION: &str = "dicom/segmentation.dcm";

/// How what belongs to one revision of a study is named in the store's folders.
pub fn result_name(study_key: &str, revision: u32) -> String {
    format!("{study_key}-r{revision}")
}
