//! The part of the interface by which labels of a folder of cases are looked at and changed.

use super::super::{label_conflict, label_lines, label_meanings, labels};
use super::{ANNOTATOR, Api, MAX_EDIT, MAX_WINDOW, NONE, POST, VIEWER, WHOSE};

/// Labels of a folder of cases.
pub(super) fn cases(api: Api) -> Api {
    let api = api
        .get::<labels::Cases, _, _>(
            (
                "/api/v1/label/cases",
                VIEWER,
                "The cases, in the order in which they are to be read.",
            ),
            NONE,
            labels::cases,
        )
        .get::<label_lines::CaseLine, _, _>(
            ("/api/v1/label/cases/{case}", VIEWER, "A case with its report."),
            NONE,
            labels::case,
        )
        .raw(
            ("/api/v1/label/cases/{case}/{image}/image", VIEWER, "An image as NIfTI in RAS order."),
            "application/octet-stream",
            labels::image,
        )
        .get::<label_lines::EditorState, _, _>(
            (
                "/api/v1/label/cases/{case}/{image}/seen",
                VIEWER,
                "Somebody's labels to look at: regions and what values mean.",
            ),
            WHOSE,
            labels::seen,
        )
        .query(
            (
                "/api/v1/label/cases/{case}/{image}/seen/labels",
                VIEWER,
                "The same, one byte per voxel, x fastest, RAS order.",
            ),
            WHOSE,
            "application/octet-stream",
            labels::seen_voxels,
        )
        .raw(
            (
                "/api/v1/label/cases/{case}/{image}/labels",
                ANNOTATOR,
                "One's own labels, one byte per voxel, x fastest, RAS order.",
            ),
            "application/octet-stream",
            labels::voxels,
        )
        .raw(
            (
                "/api/v1/label/cases/{case}/{image}/labels.nii.gz",
                ANNOTATOR,
                "One's own labels as NIfTI, in the order of the image's file.",
            ),
            "application/gzip",
            labels::file,
        )
        .raw(
            (
                "/api/v1/label/cases/{case}/{image}/labels.dcm",
                ANNOTATOR,
                "One's own labels of a DICOM series as DICOM SEG.",
            ),
            "application/dicom",
            labels::segmentation,
        );
    edits(api)
}

/// What readers do to labels.
fn edits(api: Api) -> Api {
    api.change::<labels::Begin, label_lines::EditorState, _, _>(
        POST,
        ("/api/v1/label/cases/{case}/{image}/desk", ANNOTATOR, "Open one's labels, or begin them."),
        labels::open,
    )
    .change::<labels::Edit, label_lines::Made, _, _>(
        ("post", MAX_EDIT),
        (
            "/api/v1/label/cases/{case}/{image}/edit",
            ANNOTATOR,
            "Make an edit; 409 if the labels are not those it was made on.",
        ),
        labels::edit,
    )
    .change::<labels::On, label_lines::Made, _, _>(
        POST,
        ("/api/v1/label/cases/{case}/{image}/undo", ANNOTATOR, "Take the last edit back."),
        labels::undo,
    )
    .change::<labels::On, label_lines::Made, _, _>(
        POST,
        ("/api/v1/label/cases/{case}/{image}/redo", ANNOTATOR, "Make it again."),
        labels::redo,
    )
    .change::<label_conflict::Window, label_conflict::Aside, _, _>(
        ("post", MAX_WINDOW),
        ("/api/v1/label/cases/{case}/{image}/aside", ANNOTATOR, "Keep a window's labels aside."),
        label_conflict::keep,
    )
    .change::<label_meanings::Saying, (), _, _>(
        POST,
        ("/api/v1/label/given", ANNOTATOR, "Say what values of labels mean."),
        label_meanings::say,
    )
    .get::<serde_json::Value, _, _>(
        ("/api/v1/label/cases/{case}/{image}/history", VIEWER, "Who did what to a case, and when."),
        NONE,
        labels::history,
    )
    .get::<labels::Compared, _, _>(
        ("/api/v1/label/cases/{case}/{image}/compare", VIEWER, "Two readers' labels compared."),
        &[("first", "a reader, or `labels:NAME`"), ("second", "the same")],
        labels::compare,
    )
}
