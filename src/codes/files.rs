//! Codes of commands: files that cannot be used, places where nothing can be written, edits of labels.
//!
//! Owns sentences; the command's own message says more. Refuses to decide.

use super::{Meaning, meaning};
use crate::ui::Exit;

/// Files that commands read and write.
pub(super) const FILES: [Meaning; 41] = [
    meaning(
        "unknown_name",
        "nobody and nothing of this name is in the folder",
        "`hepalert label FOLDER` lists cases, images and readers",
    ),
    meaning(
        "export_refused",
        "none of the labels can be exported",
        "the message says of each why; correct them or name others",
    ),
    meaning("not_nifti", "the file is no NIfTI image", "check what was exported under this name"),
    meaning("header_pair", "one half of an .hdr/.img pair", "convert it to a single .nii.gz"),
    meaning("truncated", "the file ends before its image does", "copy it again"),
    meaning("corrupt_gzip", "the gzip stream is damaged", "copy the file again"),
    meaning("trailing_data", "more bytes follow the image than its header says", "write it again"),
    meaning("too_large", "more voxels than any CT has", "resample the image"),
    meaning("bad_dimensions", "the header's sizes make no image", "write the file again"),
    meaning("bad_offset", "the voxels cannot begin where the header says", "write the file again"),
    meaning("bad_scaling", "the scaling of the intensities is no number", "write the file again"),
    meaning("bad_spacing", "a voxel spacing that cannot be", "correct the header"),
    meaning("bad_affine", "the orientation in the header is not valid", "convert the series again"),
    meaning("non_orthonormal", "the axes are not at right angles", "resample without shear"),
    meaning("spacing_disagrees", "two spacings along one axis", "correct the header"),
    meaning(
        "unsupported_datatype",
        "a type of voxels that is not read",
        "convert it to 16-bit integers",
    ),
    meaning("not_finite", "a voxel is not a finite number", "convert the series again"),
    meaning("not_labels", "the values are not labels from 0 to 255", "give a label map here"),
    meaning(
        "out_of_memory",
        "there is not enough memory for this image",
        "free memory, or resample it",
    ),
    meaning(
        "geometry_mismatch",
        "two images do not lie on one grid",
        "bring both onto one grid first",
    ),
    meaning(
        "not_a_field",
        "the file is no field of displacements",
        "give one that `register` wrote",
    ),
    meaning(
        "field_of_another_grid",
        "the field is of another image",
        "write it again for this image",
    ),
    meaning("bad_points", "a line is no point x,y,z in mm", "correct the line that is named"),
    meaning("no_overlap", "the images show no common part", "check that they are of one patient"),
    meaning("one_slice", "the image has one slice", "give the whole series"),
    meaning("constant_image", "the image shows nothing", "check how it was exported"),
    meaning(
        "too_many_voxels_along_axis",
        "an axis is too long to be registered",
        "resample the image",
    ),
    meaning("alignment_failed", "no map brings the images together", "look at both; try --rigid"),
    meaning("no_phase", "no phase was named", "write --phase vp=FILE"),
    meaning("phase_twice", "a phase was named twice", "name every phase once"),
    meaning(
        "no_cases",
        "the folder of truths holds no label map",
        "name the folder with <case>.nii.gz",
    ),
    meaning("no_case", "the folder holds no case", "name a folder with images"),
    meaning(
        "no_prediction",
        "a case of the truth has no prediction",
        "predict it, or say with --missing what becomes of such cases",
    ),
    meaning("bad_report", "a report is not as `analyze` writes it", "analyse the case again"),
    meaning("too_fragmented", "the label map is noise: too many pieces", "check what it is"),
    meaning(
        "output_in_the_way",
        "something that is not ours is where the result would go",
        "name another place",
    ),
    meaning("output_folder_missing", "the folder for the result is not there", "make it first"),
    meaning(
        "output_other_kind",
        "the name promises another kind of file",
        "end it as the message says",
    ),
    meaning("output_failed", "the result cannot be written", "check free space and permissions"),
    meaning("stopped", "a signal asked for the end", "give the command again"),
    meaning(
        "fleet_not_well",
        "with --strict: a device needs a person",
        "the table says which and why",
    ),
];

/// Edits of labels that cannot be made.
pub(super) const EDITS: [Meaning; 13] = [
    meaning("outside_image", "the place is outside the image", "load the case again"),
    meaning("no_region", "there is no label at this place", "point at a region"),
    meaning("not_in_region", "a point is not in the region", "place every point inside it"),
    meaning("run_outside_image", "a stroke leaves the image", "load the case again"),
    meaning("too_many", "more than is taken at once", "do it in parts"),
    meaning("too_few", "less than is needed", "add what is missing"),
    meaning(
        "number_out_of_range",
        "a number is outside what is taken",
        "the message says the limits",
    ),
    meaning(
        "contours_do_not_match",
        "contours of two labels, or in one slice",
        "draw both with one label, in two slices",
    ),
    meaning("regions_apart", "the regions do not touch", "choose two that touch"),
    meaning("no_image", "there is no image to look at", "open the case with its image"),
    meaning("no_such_phase", "the case has no labels of this phase", "open them first"),
    meaning(
        "unknown_meaning",
        "nobody has said what the values of labels mean that came with the case",
        "say it on the page of the case, or by hepalert label FOLDER --means",
    ),
    meaning("damaged_labels", "the labels that were sent are damaged", "send them again"),
];

/// Codes of commands that fail where no finer one is known: the names of the exit codes.
pub(super) const EXITS: [Meaning; Exit::ALL.len()] = [
    meaning(
        Exit::Failed.name(),
        "exit 1: the command failed",
        "the message says why and what to do",
    ),
    meaning(
        Exit::Usage.name(),
        "exit 2: the command was not called as it can be",
        "see its `--help`",
    ),
    meaning(Exit::Refused.name(), "exit 3: the input was refused", "the message says why"),
    meaning(
        Exit::Engine.name(),
        "exit 4: the engine cannot be used",
        "`hepalert engine verify` looks at it",
    ),
    meaning(
        Exit::Broker.name(),
        "exit 5: the broker cannot be reached",
        "`hepalert doctor` says what may be wrong",
    ),
    meaning(
        Exit::Config.name(),
        "exit 6: the configuration is not valid",
        "`hepalert check-config` names the key",
    ),
];
